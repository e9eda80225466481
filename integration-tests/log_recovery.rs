//! The embedded log against torn writes, damage, intruders and SIGKILL.

mod child;
mod damage;
mod intruders;
mod roll;
pub(crate) mod support;
