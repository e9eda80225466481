//! Every sink against its real target.

mod redis;
mod rows;
