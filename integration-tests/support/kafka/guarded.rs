//! A broker that asks who one is, and allows each what was allowed to them.

use super::Kafka;
use crate::support::ports;

impl Kafka {
    /// One broker that also listens on another port, where it wants a name with SASL: `PLAIN` (`walbridge` and `stranger`, with password
    /// `right`), or an `OAUTHBEARER` token that nobody signed. It allows nobody anything there until [`Kafka::allow`]. Gives the port.
    pub(crate) fn guarded() -> (Kafka, u16) {
        let port = ports::free();
        let kafka = Kafka::start_with(&[
            (
                "listeners",
                &format!(
                    "PLAINTEXT://127.0.0.1:{{port}},CONTROLLER://127.0.0.1:{{controller}},GUARDED://127.0.0.1:{port}"
                ),
            ),
            ("advertised.listeners", &format!("PLAINTEXT://127.0.0.1:{{port}},GUARDED://127.0.0.1:{port}")),
            ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,GUARDED:SASL_PLAINTEXT"),
            ("inter.broker.listener.name", "PLAINTEXT"),
            ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
            // The broker itself, and the tests.
            ("super.users", "User:ANONYMOUS"),
            ("listener.name.guarded.sasl.enabled.mechanisms", "PLAIN,OAUTHBEARER"),
            (
                "listener.name.guarded.plain.sasl.jaas.config",
                "org.apache.kafka.common.security.plain.PlainLoginModule required user_walbridge=\"right\" user_stranger=\"right\";",
            ),
            (
                "listener.name.guarded.oauthbearer.sasl.jaas.config",
                "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;",
            ),
            // A connection lives no longer than its token.
            ("listener.name.guarded.oauthbearer.connections.max.reauth.ms", "3600000"),
        ]);
        (kafka, port)
    }

    /// Allows a principal operations on what the arguments say: `&["--topic", "shop."]`. Topics and transactional ids by the beginning of their names.
    pub(crate) fn allow(&self, principal: &str, operations: &[&str], on: &[&str]) {
        let principal = format!("User:{principal}");
        let mut arguments = vec!["--add", "--allow-principal", principal.as_str()];
        operations.iter().for_each(|operation| arguments.extend(["--operation", *operation]));
        arguments.extend(on);
        if ["--topic", "--transactional-id"].iter().any(|kind| on.first() == Some(kind)) {
            arguments.extend(["--resource-pattern-type", "prefixed"]);
        }
        self.tool("org.apache.kafka.tools.AclCommand", &arguments, "");
    }

    /// Allows what docs/kafka.md says that walbridge needs for this source.
    pub(crate) fn allow_all(&self, principal: &str, source: &str) {
        let topics = format!("{source}.");
        self.allow(principal, &["Create", "Write", "Describe", "DescribeConfigs", "Read"], &["--topic", &topics]);
        self.allow(principal, &["Read"], &["--group", "walbridge"]);
        self.allow(principal, &["Write", "Describe"], &["--transactional-id", &format!("{source}.walbridge")]);
        self.allow(principal, &["IdempotentWrite"], &["--cluster"]);
    }
}
