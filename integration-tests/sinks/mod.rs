//! Every sink against its real target.

mod mistakes;
mod redis;
mod rows;
