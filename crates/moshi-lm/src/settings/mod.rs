//! What a row is, set outside of steps: its adapter, conditions, guidance, what it has to say, and an input of its own.
//! What these set survives a reset, but for what is said.

mod adapters;
mod conditions;
mod guidance;
mod replay;
mod speech;
