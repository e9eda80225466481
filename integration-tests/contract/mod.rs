//! What every sink promises, tried on every sink with its real target.
//!
//! A little world of two tables stands in for PostgreSQL (`world`), its changes go through the real projection and the real
//! coalescing (`delivery`), and in the end each target (`target`) must hold what the world holds, read from outside. Tests of
//! what only one kind of target can do stand beside that sink's own.

mod any;
mod cache;
mod cuts;
mod database;
mod delivery;
mod faults;
mod history;
mod index;
mod kind;
mod letters;
mod picky;
mod program;
mod promises;
mod random;
mod rebuild;
mod recopy;
mod replay;
mod running;
mod shaped;
mod target;
mod world;
