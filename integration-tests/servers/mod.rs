//! What production does to a server and to its slot: standbys, failover, budgets, shutdowns, several of them.

mod backlog;
mod budget;
mod clock;
mod locks;
mod mistakes;
mod nothing;
mod numbers;
mod refusals;
mod settings;
mod several;
mod shutdown;
mod slots;
mod standby;
mod synchronous;
mod upgrade;
