//! `bench-ci ab`: what its sessions come to, and several of them taken together.

mod alone;
mod sessions;
