//! What the programs in Java have in common: where they are, and how they start.

use std::fs;
use std::path::PathBuf;

/// A machine that starts fast: what is compiled is compiled once, and cheaply.
pub(crate) const QUICK: [&str; 3] = ["-XX:TieredStopAtLevel=1", "-Xshare:auto", "-XX:+UseSerialGC"];

/// Warnings and errors to standard output, in the words of Log4j.
pub(crate) const LOGGING: &str = "status = error
appender.out.type = Console
appender.out.name = OUT
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %p %m (%c)%n%throwable{12}
rootLogger.level = warn
rootLogger.appenderRef.out.ref = OUT
";

/// Where `scripts/setup` has put what goes by this name: the newest version there.
pub(crate) fn installed(name: &str) -> PathBuf {
    let folder = PathBuf::from("/var/cache/walbridge").join(name);
    let versions = fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let newest = versions.filter(|path| path.extension().is_none_or(|extension| extension != "new")).max();
    assert!(newest.is_some(), "nothing in {}; run `make setup`", folder.display());
    newest.unwrap_or_default()
}
