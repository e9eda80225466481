//! Topics: made, taken, refused, lost.

use super::Stage;
use crate::support::Kafka;

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_is_made_as_stated_and_one_that_differs_is_refused() {
    let kafka = Kafka::shared();
    let mut stage = Stage::prepare(&kafka, "topics = { partitions = 2, cleanup_policy = \"compact\" }");
    kafka.create_topic(&stage.topic("t"), 5, &[]).await;
    stage.walbridge.start_again();
    let status = stage.await_code("halted", "kafka.topic").await;
    let message = status["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.contains("5 partitions") && message.contains("says 2"), "{message}");
    stage.walbridge.sigkill();
    kafka.delete_topic(&stage.topic("t")).await;
    stage.walbridge.start_again();
    stage.caught_up().await;
    assert_eq!(kafka.partitions(&stage.topic("t")), 2);
    stage.proven(&kafka);
    stage.walbridge.sigkill();
    stage.configure(&kafka, "topics = { cleanup_policy = \"delete\" }");
    stage.walbridge.start_again();
    stage.postgres.psql("UPDATE t SET n = n + 1");
    let status = stage.await_code("halted", "kafka.topic").await;
    assert!(status["message"].as_str().is_some_and(|message| message.contains("cleanup.policy")), "{status}");
}

/// Scenario 105. What no broker would take is never left out: the source halts at it, and goes on with it once the topic takes it.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_too_large_halts_the_source_and_nothing_behind_it_is_written_before() {
    let kafka = Kafka::shared();
    let mut stage = Stage::set(&kafka, "topics = { config = { \"max.message.bytes\" = 100000 } }");
    stage.caught_up().await;
    stage.proven(&kafka);
    stage.postgres.psql("UPDATE t SET n = n + 1, v = repeat('large', 50000) WHERE id = 5; UPDATE t SET n = n + 1");
    let status = stage.await_code("halted", "kafka.record_too_large").await;
    let message = status["message"].as_str().unwrap_or_default().to_owned();
    for told in ["public.t", "{\"id\":5}", "position 1/0/", "max.message.bytes"] {
        assert!(message.contains(told), "{told}: {message}");
    }
    assert_eq!(kafka.read(&stage.topic("t")).len(), 10, "nothing behind it");
    stage.walbridge.sigkill();
    let topic = stage.topic("t");
    let arguments =
        ["--alter", "--entity-type", "topics", "--entity-name", &topic, "--add-config", "max.message.bytes=1000000"];
    kafka.tool("kafka.admin.ConfigCommand", &arguments, "");
    stage.walbridge.start_again();
    stage.caught_up().await;
    stage.proven(&kafka);
}

/// Scenario 106. A topic that is deleted is noticed, not made again.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_deleted_while_running_halts_the_source() {
    let kafka = Kafka::shared();
    let mut stage = Stage::set(&kafka, "");
    stage.caught_up().await;
    kafka.delete_topic(&stage.topic("t")).await;
    stage.postgres.psql("UPDATE t SET n = n + 1");
    let status = stage.await_code("halted", "kafka.offset_lost").await;
    assert!(status["message"].as_str().is_some_and(|message| message.contains(&stage.topic("t"))), "{status}");
    assert_eq!(kafka.partitions(&stage.topic("t")), 0);
}

/// Encrypted, and under a name with a password (SCRAM): a wrong password, and an authority that did not sign the brokers' certificate,
/// are said to be that, and go on by themselves once they are mended.
#[tokio::test(flavor = "multi_thread")]
async fn tls_and_scram_are_used_and_what_is_wrong_with_them_is_said() {
    let directory = tempfile::tempdir().expect("a directory");
    let (mut kafka, port) = Kafka::secured(directory.path(), "right");
    let mut stage = Stage::prepare(&kafka, "");
    let plain = std::fs::read_to_string(stage.walbridge.config_path()).expect("the configuration");
    let secure = |password: &str, ca: &str| {
        let ca = directory.path().join(ca);
        let keys = format!(
            "tls = {{ ca = \"{}\" }}\nsasl = {{ username = \"walbridge\", password = \"{password}\" }}\n[admin]",
            ca.display()
        );
        plain.replace(&kafka.brokers(), &format!("127.0.0.1:{port}")).replace("[admin]", &keys)
    };
    for (password, ca, code) in [("wrong", "ca.pem", "security.auth"), ("right", "client.pem", "security.tls")] {
        stage.walbridge.configure(&secure(password, ca));
        stage.walbridge.start_again();
        let status = stage.await_code("paused", code).await;
        assert!(!status.to_string().contains(password), "{status}");
        stage.walbridge.sigkill();
    }
    stage.walbridge.configure(&secure("right", "ca.pem"));
    stage.walbridge.start_again();
    stage.caught_up().await;
    stage.proven(&kafka);
    stage.walbridge.sigkill();
    // Scenario 116. The password is exchanged while walbridge runs, at the brokers first.
    let file = directory.path().join("password");
    std::fs::write(&file, "right\n").expect("a file");
    let by_file =
        secure("right", "ca.pem").replace("password = \"right\"", &format!("password_file = \"{}\"", file.display()));
    stage.walbridge.configure(&by_file);
    stage.walbridge.start_again();
    stage.caught_up().await;
    kafka.let_in("another");
    kafka.stop(0);
    kafka.start_again(0);
    stage.postgres.psql("UPDATE t SET n = n + 1");
    let status = stage.await_code("paused", "security.auth").await;
    assert!(!status.to_string().contains("right"), "{status}");
    std::fs::write(&file, "another\n").expect("a file");
    stage.caught_up().await;
    stage.proven(&kafka);
}
