//! Events as JSON Lines in a local file.
