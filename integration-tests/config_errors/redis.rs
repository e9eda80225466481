//! Mistakes in where a Redis sink is.

use super::{read, with};

fn sink(lines: &str) -> String {
    with(&format!("[sinks.a]\nkind = 'redis'\nfrom = 'public.t'\n{lines}"))
}

#[test]
fn sentinels_and_clusters_are_named_whole() {
    let tagged = "key = '{{t}}:{id}'";
    for (url, key, told) in [
        ("redis-sentinel://s1:26379,s2:26379/0", "", "is not a Redis URL"),
        ("redis-sentinel://s1:26379,/0#m", "", "is not a Redis URL"),
        ("redis-cluster://n1:7000/1", tagged, "is not a Redis URL"),
        ("redis://c", "ca = 'ca.pem'", "`ca` is of TLS"),
        ("redis://c", "value = 'text'", "value = \"text\" needs `text`"),
        ("redis://c", "text = '{id}'", "`text` means nothing with value = \"json\""),
        ("redis://c", "value = 'text'\ntext = '{id'", "do not match at character 1"),
        ("rediss://c", "client_key = 'k.pem'", "give both"),
    ] {
        let errors = read(&sink(&format!("url = '{url}'\n{key}\n"))).expect_err(url).render(false);
        assert!(errors.contains(told) && errors.contains("1 mistake"), "{url}: {errors}");
    }
    for (url, key) in [
        ("rediss-sentinel://wb:x@s1:26379,s2:26379/2#m", "sentinel_password = 'y'\nca = 'ca.pem'"),
        ("redis-cluster://wb:x@n1:7000,n2:7000", tagged),
        ("redis-cluster://n1:7000", "value = 'set'\nkey = '{{t}}:{a}'\nmember = '{id}'"),
        ("redis-cluster://n1:7000", "value = 'stream'\nkey = '{{t}}:{table}'"),
        ("redis-cluster://n1:7000", ""),
        ("redis://c", "value = 'text'\ntext = '{likes}{unit}%'\nttl_column = 'until'"),
        ("redis-cluster://n1:7000", "key = '{id}:{{t}}'"),
        ("redis-cluster://n1:7000", "value = 'stream'\nkey = 'c:{table}'"),
    ] {
        let read = read(&sink(&format!("url = '{url}'\n{key}\n")));
        assert!(read.is_ok(), "{url}: {}", read.map_or_else(|errors| errors.render(false), |_| String::new()));
    }
}
