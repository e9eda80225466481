//! A server whose clock can be set: a few lines of C before the C library's, compiled here, which add what a file says to the time.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The seconds to add are in the file that the environment names; it is read for each look at the clock.
const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long added(void) {
    const char *path = getenv("SET_CLOCK");
    FILE *file = path ? fopen(path, "re") : NULL;
    long seconds = 0;
    if (file) {
        if (fscanf(file, "%ld", &seconds) != 1) seconds = 0;
        fclose(file);
    }
    return seconds;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    long failed = syscall(SYS_gettimeofday, now, zone);
    if (!failed) now->tv_sec += added();
    return failed;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    long failed = syscall(SYS_clock_gettime, clock, now);
    if (!failed && clock == CLOCK_REALTIME) now->tv_sec += added();
    return failed;
}

time_t time(time_t *out) {
    struct timeval now = {0};
    gettimeofday(&now, NULL);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}
"#;

/// Where the seconds are, in a cluster's directory.
pub(super) fn file(directory: &Path) -> PathBuf {
    directory.join("clock")
}

/// Compiles it into a cluster's directory; what a server must have in its environment to go by that clock.
pub(super) fn environment(directory: &Path) -> [(&'static str, PathBuf); 2] {
    let (source, library) = (directory.join("clock.c"), directory.join("clock.so"));
    if !library.is_file() {
        fs::write(&source, SOURCE).expect("the source is written");
        let compiled = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).output();
        let compiled = compiled.expect("a C compiler; run `make setup`");
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    }
    [("LD_PRELOAD", library), ("SET_CLOCK", file(directory))]
}
