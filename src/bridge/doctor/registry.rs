//! A schema registry: whether it answers and takes us, and whether it has what is not to be registered.

use super::Report;
use crate::kafka::format::Format;
use crate::kafka::registry::{Registry, Settings};

const CHECK: &str = "schema_registry";

/// Looks at it, for the rows of these topics. Their schemas come with their tables' first records.
pub(super) async fn look(report: &mut Report, settings: &Settings, format: Format, topics: impl Iterator<Item = &str>) {
    let Some(language) = format.language() else { return };
    let registry = Registry::new(settings.clone());
    let (mut there, mut missing) = (0_usize, Vec::new());
    for topic in topics {
        let subject = format!("{topic}-value");
        match registry.latest(&subject, language).await {
            Ok(Some(_)) => there += 1,
            Ok(None) => missing.push(subject),
            Err(error) => return report.error(CHECK, error.code(), &error),
        }
    }
    let url = &settings.address;
    if settings.auto_register || missing.is_empty() {
        report.ok(
            CHECK,
            format!(
                "{url} answers; of {there} tables it has {} schemas, of {} none yet",
                language.name(),
                missing.len()
            ),
        );
    } else {
        report.fail(
            CHECK,
            format!("{url} has nothing under {}, and auto_register = false", missing.join(", ")),
            "Register their schemas, which walbridge prints when it halts for the lack of one, or say auto_register = true",
        );
    }
}
