//! The functions of NVML, found by name in a library that is loaded while we run.
//!
//! Main type: [`Calls`]. All that is unsafe about it is here; the signatures are those of `nvml.h`,
//! versions 11 to 13. A library once loaded stays: drivers do not like to be unloaded.

#![expect(unsafe_code, reason = "a library in C that is not there when this is linked")]

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_ulonglong, c_void};

use nix::libc;

use super::GpuProcess;

/// NVML's name for a device; only ever given back to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Handle(usize);

/// Which clock is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Clock {
    Sm = 1,
    Memory = 2,
}

/// Why a call gave nothing.
pub(super) enum Refusal {
    /// The library is too old for it.
    Missing(&'static str),
    /// NVML's own number for what went wrong.
    Code(c_int),
}

type Answer<T> = Result<T, Refusal>;
type Raw = *mut c_void;

#[repr(C)]
#[derive(Default)]
struct Memory {
    total: c_ulonglong,
    free: c_ulonglong,
    used: c_ulonglong,
}

#[repr(C)]
#[derive(Default)]
struct Utilization {
    gpu: c_uint,
    memory: c_uint,
}

#[repr(C)]
#[derive(Default, Clone)]
struct Process {
    pid: c_uint,
    used_memory: c_ulonglong,
    gpu_instance: c_uint,
    compute_instance: c_uint,
}

const SUCCESS: c_int = 0;
const INSUFFICIENT_SIZE: c_int = 7;

/// Room for the processes of one device; more than that is not asked for.
const MOST_PROCESSES: usize = 64;

/// The longest text that `nvml.h` promises (NVML_DEVICE_NAME_V2_BUFFER_SIZE).
const TEXT: usize = 96;

/// What NVML can be asked; a `None` is not in this library.
pub(super) struct Calls {
    init: unsafe extern "C" fn() -> c_int,
    error_string: Option<unsafe extern "C" fn(c_int) -> *const c_char>,
    driver: Option<unsafe extern "C" fn(*mut c_char, c_uint) -> c_int>,
    count: Option<unsafe extern "C" fn(*mut c_uint) -> c_int>,
    handle: Option<unsafe extern "C" fn(c_uint, *mut Raw) -> c_int>,
    name: Option<unsafe extern "C" fn(Raw, *mut c_char, c_uint) -> c_int>,
    memory: Option<unsafe extern "C" fn(Raw, *mut Memory) -> c_int>,
    utilization: Option<unsafe extern "C" fn(Raw, *mut Utilization) -> c_int>,
    power: Option<unsafe extern "C" fn(Raw, *mut c_uint) -> c_int>,
    temperature: Option<unsafe extern "C" fn(Raw, c_uint, *mut c_uint) -> c_int>,
    clock: Option<unsafe extern "C" fn(Raw, c_uint, *mut c_uint) -> c_int>,
    processes: Option<unsafe extern "C" fn(Raw, *mut c_uint, *mut Process) -> c_int>,
}

impl Calls {
    /// Loads the library of this name or path.
    pub(super) fn load(library: &str) -> Result<Self, String> {
        let path = CString::new(library).map_err(|_| "its name has a zero in it".to_owned())?;
        // SAFETY: the path ends in a zero. The code that loading runs is the driver's own, as in
        // every program that asks NVML.
        let library = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        if library.is_null() {
            return Err(last_error());
        }
        macro_rules! symbol {
            ($name:literal) => {{
                // SAFETY: the library stays loaded, and the name ends in a zero.
                let found = unsafe { libc::dlsym(library, $name.as_ptr()) };
                // SAFETY: a function of this name has the signature that `nvml.h` gives it, and a
                // null pointer is `None`.
                unsafe { std::mem::transmute::<*mut c_void, Option<_>>(found) }
            }};
        }
        Ok(Self {
            init: symbol!(c"nvmlInit_v2").ok_or("it has no nvmlInit_v2")?,
            error_string: symbol!(c"nvmlErrorString"),
            driver: symbol!(c"nvmlSystemGetDriverVersion"),
            count: symbol!(c"nvmlDeviceGetCount_v2"),
            handle: symbol!(c"nvmlDeviceGetHandleByIndex_v2"),
            name: symbol!(c"nvmlDeviceGetName"),
            memory: symbol!(c"nvmlDeviceGetMemoryInfo"),
            utilization: symbol!(c"nvmlDeviceGetUtilizationRates"),
            power: symbol!(c"nvmlDeviceGetPowerUsage"),
            temperature: symbol!(c"nvmlDeviceGetTemperature"),
            clock: symbol!(c"nvmlDeviceGetClockInfo"),
            processes: symbol!(c"nvmlDeviceGetComputeRunningProcesses_v3"),
        })
    }

    /// To be called first; takes a second where the driver sleeps.
    pub(super) fn init(&self) -> Answer<()> {
        // SAFETY: it takes nothing, and may be called any number of times.
        done(unsafe { (self.init)() })
    }

    /// NVML's words for one of its numbers.
    pub(super) fn words(&self, code: c_int) -> String {
        let text = self.error_string.map(|error_string| {
            // SAFETY: it answers any number.
            unsafe { error_string(code) }
        });
        match text {
            Some(text) if !text.is_null() => {
                // SAFETY: the text is a constant of the library and ends in a zero.
                unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
            }
            _ => format!("error {code}"),
        }
    }

    pub(super) fn driver(&self) -> Answer<String> {
        let driver = self.driver.ok_or(Refusal::Missing("nvmlSystemGetDriverVersion"))?;
        // SAFETY: the room is as long as is said.
        text(|room, length| unsafe { driver(room, length) })
    }

    pub(super) fn count(&self) -> Answer<u32> {
        let count = self.count.ok_or(Refusal::Missing("nvmlDeviceGetCount_v2"))?;
        // SAFETY: the place is ours.
        number(|place| unsafe { count(place) })
    }

    pub(super) fn device(&self, index: u32) -> Answer<Handle> {
        let handle = self.handle.ok_or(Refusal::Missing("nvmlDeviceGetHandleByIndex_v2"))?;
        let mut found: Raw = std::ptr::null_mut();
        // SAFETY: the place is ours, and a wrong index is refused.
        done(unsafe { handle(index, &raw mut found) })?;
        Ok(Handle(found.expose_provenance()))
    }

    pub(super) fn name(&self, device: Handle) -> Answer<String> {
        let name = self.name.ok_or(Refusal::Missing("nvmlDeviceGetName"))?;
        // SAFETY: the device is one that the library gave, and the room is as long as is said.
        text(|room, length| unsafe { name(device.raw(), room, length) })
    }

    /// Total and used, bytes.
    pub(super) fn memory(&self, device: Handle) -> Answer<(u64, u64)> {
        let memory = self.memory.ok_or(Refusal::Missing("nvmlDeviceGetMemoryInfo"))?;
        let mut found = Memory::default();
        // SAFETY: the device is one that the library gave, and the place is ours.
        done(unsafe { memory(device.raw(), &raw mut found) })?;
        Ok((found.total, found.used))
    }

    /// Percent of the time.
    pub(super) fn utilization(&self, device: Handle) -> Answer<u32> {
        let ask = self.utilization.ok_or(Refusal::Missing("nvmlDeviceGetUtilizationRates"))?;
        let mut found = Utilization::default();
        // SAFETY: the device is one that the library gave, and the place is ours.
        done(unsafe { ask(device.raw(), &raw mut found) })?;
        Ok(found.gpu)
    }

    /// Milliwatts.
    pub(super) fn power(&self, device: Handle) -> Answer<u32> {
        let power = self.power.ok_or(Refusal::Missing("nvmlDeviceGetPowerUsage"))?;
        // SAFETY: the device is one that the library gave, and the place is ours.
        number(|place| unsafe { power(device.raw(), place) })
    }

    /// Degrees Celsius of the chip.
    pub(super) fn temperature(&self, device: Handle) -> Answer<u32> {
        let ask = self.temperature.ok_or(Refusal::Missing("nvmlDeviceGetTemperature"))?;
        // SAFETY: the device is one that the library gave, and the place is ours; 0 is the chip.
        number(|place| unsafe { ask(device.raw(), 0, place) })
    }

    /// MHz.
    pub(super) fn clock(&self, device: Handle, which: Clock) -> Answer<u32> {
        let clock = self.clock.ok_or(Refusal::Missing("nvmlDeviceGetClockInfo"))?;
        // SAFETY: the device is one that the library gave, and the place is ours.
        number(|place| unsafe { clock(device.raw(), which as c_uint, place) })
    }

    pub(super) fn processes(&self, device: Handle) -> Answer<Vec<GpuProcess>> {
        let name = "nvmlDeviceGetComputeRunningProcesses_v3";
        let ask = self.processes.ok_or(Refusal::Missing(name))?;
        let mut found = vec![Process::default(); MOST_PROCESSES];
        let mut count = MOST_PROCESSES as c_uint;
        // SAFETY: the device is one that the library gave, and there is room for as many as is said.
        let code = unsafe { ask(device.raw(), &raw mut count, found.as_mut_ptr()) };
        if code == INSUFFICIENT_SIZE {
            return Err(Refusal::Code(code));
        }
        done(code)?;
        // A library that says more than there was room for is not believed.
        found.truncate(count as usize);
        // All ones: the driver does not say, as in a container or under WDDM.
        let known = |bytes: u64| (bytes != u64::MAX).then_some(bytes);
        Ok(found
            .iter()
            .map(|one| GpuProcess { pid: one.pid, memory_bytes: known(one.used_memory) })
            .collect())
    }
}

impl Handle {
    fn raw(self) -> Raw {
        std::ptr::with_exposed_provenance_mut(self.0)
    }
}

fn done(code: c_int) -> Answer<()> {
    if code == SUCCESS { Ok(()) } else { Err(Refusal::Code(code)) }
}

fn number(ask: impl FnOnce(*mut c_uint) -> c_int) -> Answer<u32> {
    let mut found: c_uint = 0;
    done(ask(&raw mut found))?;
    Ok(found)
}

fn text(ask: impl FnOnce(*mut c_char, c_uint) -> c_int) -> Answer<String> {
    let mut room = [0_u8; TEXT];
    done(ask(room.as_mut_ptr().cast(), TEXT as c_uint))?;
    let end = room.iter().position(|byte| *byte == 0).unwrap_or(TEXT);
    Ok(String::from_utf8_lossy(&room[..end]).trim().to_owned())
}

fn last_error() -> String {
    // SAFETY: it takes nothing; what it gives is a text of this thread's last failure, or null.
    let text = unsafe { libc::dlerror() };
    if text.is_null() {
        return "it cannot be loaded".to_owned();
    }
    // SAFETY: not null, ends in a zero, and lives until the next failure on this thread.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}
