//! What is durable, and what readers see of it.

pub mod view;
