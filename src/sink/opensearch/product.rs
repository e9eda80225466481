//! What answers at an address: which server, which version, which cluster.

use serde::Deserialize;

/// What a server says of itself.
#[derive(Debug, Deserialize)]
pub(super) struct Product {
    /// Tells this cluster from any other. One that has just begun has none yet.
    #[serde(default)]
    pub(super) cluster_uuid: String,
    version: Version,
}

#[derive(Debug, Deserialize)]
struct Version {
    number: String,
    /// Elasticsearch has none.
    distribution: Option<String>,
}

/// What we think of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is one that the tests run against, or a newer one.
    Tested,
    /// It has the same API as far as its documentation tells, and has not been tried.
    Untested,
    /// It has not.
    Refused,
}

impl Product {
    /// For messages.
    pub(super) fn shown(&self) -> String {
        let name = match self.version.distribution.as_deref() {
            Some("opensearch") => "OpenSearch",
            Some(other) => other,
            None => "Elasticsearch",
        };
        format!("{name} {}", self.version.number)
    }

    pub(super) fn verdict(&self) -> Verdict {
        let mut numbers = self.version.number.split(['.', '-']).map(|part| part.parse().unwrap_or(0_u32));
        let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        match self.version.distribution.as_deref() {
            Some("opensearch") if version >= (2, 0) => Verdict::Tested,
            None if ((7, 17)..(8, 0)).contains(&version) => Verdict::Tested,
            None if version >= (7, 10) => Verdict::Untested,
            _ => Verdict::Refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_judged_by_its_name_and_version() {
        let judged = |version: &str| {
            let text = format!(r#"{{"cluster_uuid":"u","version":{version},"tagline":"…"}}"#);
            let product: Product = serde_json::from_str(&text).expect("a product");
            (product.shown(), product.verdict())
        };
        for (version, shown, verdict) in [
            (r#"{"distribution":"opensearch","number":"2.19.1"}"#, "OpenSearch 2.19.1", Verdict::Tested),
            (r#"{"distribution":"opensearch","number":"3.0.0-beta1"}"#, "OpenSearch 3.0.0-beta1", Verdict::Tested),
            (r#"{"distribution":"opensearch","number":"1.3.20"}"#, "OpenSearch 1.3.20", Verdict::Refused),
            (r#"{"number":"8.15.0","build_flavor":"default"}"#, "Elasticsearch 8.15.0", Verdict::Untested),
            (r#"{"number":"7.17.29"}"#, "Elasticsearch 7.17.29", Verdict::Tested),
            (r#"{"number":"7.9.3"}"#, "Elasticsearch 7.9.3", Verdict::Refused),
            (r#"{"distribution":"other","number":"9.0.0"}"#, "other 9.0.0", Verdict::Refused),
        ] {
            assert_eq!(judged(version), (shown.to_owned(), verdict));
        }
    }
}
