//! The flags of figures that need more than the load itself.

use clap::Args;

use crate::plan::{Bandwidth, Flops};

/// What is found out beside the load.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Derived figures")]
pub struct DerivedArgs {
    /// Peak memory bandwidth, such as 50GB/s, for bandwidth utilization (MBU)
    ///
    /// MBU is what the answers needed to read (weights, keys and values, from the GGUF's own shape) over
    /// this. Without it, and without --measure-peaks, MBU is null and its parts are still reported.
    #[arg(long, value_name = "RATE")]
    pub peak_bandwidth: Option<Bandwidth>,
    /// Peak arithmetic, such as 1TFLOPS, for FLOPS utilization (MFU)
    #[arg(long, value_name = "RATE")]
    pub peak_flops: Option<Flops>,
    /// Measure the peaks that were not given, on all cores
    ///
    /// Takes a few seconds, before the server is started. It says what this machine's processors can do, not a GPU.
    #[arg(long)]
    pub measure_peaks: bool,
    /// First measure this client itself, and put its error beside the results
    ///
    /// Against the simulator, before the server is started. Takes some seconds, with as many users as the run has, or at its rate. `bench-ci calibrate` tries
    /// many of both.
    #[arg(long)]
    pub calibrate: bool,
}
