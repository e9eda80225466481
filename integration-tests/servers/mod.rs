//! What production does to a server and to its slot: standbys, failover, budgets, shutdowns, several of them.

mod budget;
mod refusals;
mod several;
mod shutdown;
mod slots;
mod standby;
