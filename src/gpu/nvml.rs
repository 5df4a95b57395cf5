//! NVML, asked without a word that C would need.
//!
//! Main type: [`Nvml`]. It may take seconds to begin and, with a stuck driver, for ever; whoever asks
//! does so on a thread that nobody waits for without a limit.

use std::sync::OnceLock;

use super::raw::{Calls, Clock, Handle, Refusal};
use super::{Device, GpuProcess, Reading};
use crate::stats::{Known, Unknown};

/// Another library than the driver's own; how the tests have graphics processors.
pub const LIBRARY_VARIABLE: &str = "BENCH_CI_NVML_LIBRARY";

/// The driver's own, where the loader finds it.
const LIBRARY: &str = "libnvidia-ml.so.1";

/// More than a machine has; a library that says more is not believed.
const MOST_DEVICES: u32 = 64;

/// The library, ready to be asked from any thread.
pub struct Nvml {
    calls: Calls,
}

impl std::fmt::Debug for Nvml {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Nvml")
    }
}

impl Nvml {
    /// The one of this process, loaded at the first call and never unloaded.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub fn shared() -> Result<&'static Self, &'static str> {
        static SHARED: OnceLock<Result<Nvml, String>> = OnceLock::new();
        SHARED.get_or_init(Self::load).as_ref().map_err(String::as_str)
    }

    fn load() -> Result<Self, String> {
        let named = std::env::var(LIBRARY_VARIABLE).ok().filter(|name| !name.is_empty());
        let name = named.as_deref().unwrap_or(LIBRARY);
        if cfg!(target_feature = "crt-static") {
            return Err(format!(
                "this build of bench-ci is static and cannot load {name}; one for linux-gnu can"
            ));
        }
        let calls = Calls::load(name).map_err(|why| {
            format!("{name}, the library of NVIDIA's driver, cannot be loaded: {why}")
        })?;
        let nvml = Self { calls };
        match nvml.calls.init() {
            Ok(()) => Ok(nvml),
            Err(refusal) => Err(nvml.because(refusal).reason().to_owned()),
        }
    }

    /// Version of the driver.
    ///
    /// # Errors
    /// NVML's words for why it does not say.
    pub fn driver(&self) -> Known<String> {
        self.known(self.calls.driver())
    }

    /// All devices, in the order of their numbers; those that cannot be reached are left out.
    ///
    /// # Errors
    /// NVML's words for why it does not say.
    pub fn devices(&self) -> Known<Vec<Device>> {
        let count = self.known(self.calls.count())?;
        let device = |index| {
            let handle = self.calls.device(index).ok()?;
            let name = self.calls.name(handle).unwrap_or_else(|_| "NVIDIA GPU".to_owned());
            let memory = self.calls.memory(handle).ok().map(|(total, _)| total);
            Some(Device { index, name, memory_bytes: memory.filter(|total| *total > 0), handle })
        };
        Ok((0..count.min(MOST_DEVICES)).filter_map(device).collect())
    }

    /// What a device does now.
    #[must_use]
    pub fn read(&self, device: &Device) -> Reading {
        let at: Handle = device.handle;
        let number = |answer: Result<u32, Refusal>| self.known(answer).map(f64::from);
        let processes: Known<Vec<GpuProcess>> = self.known(self.calls.processes(at));
        Reading {
            utilization_ratio: number(self.calls.utilization(at)).map(|percent| percent / 100.0),
            memory_used_bytes: self.known(self.calls.memory(at)).map(|(_, used)| used),
            power_w: number(self.calls.power(at)).map(|milliwatts| milliwatts / 1e3),
            temperature_c: number(self.calls.temperature(at)),
            sm_clock_mhz: number(self.calls.clock(at, Clock::Sm)),
            memory_clock_mhz: number(self.calls.clock(at, Clock::Memory)),
            processes,
        }
    }

    fn known<T>(&self, answer: Result<T, Refusal>) -> Known<T> {
        answer.map_err(|refusal| self.because(refusal))
    }

    fn because(&self, refusal: Refusal) -> Unknown {
        Unknown::because(match refusal {
            Refusal::Missing(name) => format!("this driver's NVML has no {name}"),
            Refusal::Code(code) => format!("NVML: {}", self.calls.words(code)),
        })
    }
}
