//! Graphics processors, as NVIDIA's management library (NVML) knows them.
//!
//! Main type: [`Nvml`], loaded while bench-ci runs, so that there is one binary for machines with and
//! without. Where there is none, that is a reason in words and no warning. Nothing is ever set here.

mod nvml;
mod raw;

use serde::Serialize;

pub use nvml::{LIBRARY_VARIABLE, Nvml};

use crate::stats::Known;

/// A graphics processor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// NVML's number of it, from 0.
    pub index: u32,
    /// Product name.
    pub name: String,
    /// Its memory in bytes; `None` where it shares the machine's.
    pub memory_bytes: Option<u64>,
    handle: raw::Handle,
}

/// What a graphics processor did at one moment; each with the reason where it does not say.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// Share of its last sample period in which anything ran on it, 0 to 1.
    pub utilization_ratio: Known<f64>,
    /// Memory in use, by anybody, bytes.
    pub memory_used_bytes: Known<u64>,
    /// Power drawn, watts.
    pub power_w: Known<f64>,
    /// Temperature, degrees Celsius.
    pub temperature_c: Known<f64>,
    /// Clock of its multiprocessors, MHz.
    pub sm_clock_mhz: Known<f64>,
    /// Clock of its memory, MHz.
    pub memory_clock_mhz: Known<f64>,
    /// Processes that compute on it.
    pub processes: Known<Vec<GpuProcess>>,
}

/// A process on a graphics processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct GpuProcess {
    /// Its number, in the namespace that the driver knows.
    pub pid: u32,
    /// Memory that it has there; `None` where the driver does not say.
    pub memory_bytes: Option<u64>,
}
