//! Memory that a run has needed so far and will not need in its next part.
//!
//! Main function: [`give_back`]. Beside a server that fills the machine a client should be small.

/// Gives back the heap that the parts of a run so far took, and the pages of the executable that only they
/// and the loader touched: code, constants, relocations. What is needed again comes back from the page
/// cache, microseconds a page; so this is for moments before and after a load and not for one within it.
pub(super) fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(unsafe_code, reason = "no crate offers it")]
    // SAFETY: it takes no pointer and may be called at any time.
    unsafe {
        nix::libc::malloc_trim(0);
    }
    #[cfg(target_os = "linux")]
    executable();
}

#[cfg(target_os = "linux")]
fn executable() {
    use std::ffi::c_void;
    use std::ptr::{NonNull, with_exposed_provenance_mut};

    use nix::sys::mman::{MmapAdvise, madvise};

    let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else { return };
    let Ok(executable) = std::env::current_exe() else { return };
    for (start, end) in maps.lines().filter_map(|line| unwritten(line, &executable)) {
        let Some(start_at) = NonNull::new(with_exposed_provenance_mut::<c_void>(start)) else {
            continue;
        };
        #[expect(unsafe_code, reason = "the range is given by its address")]
        // SAFETY: these ranges are mapped from the file and were never writable, so that every page
        // that is dropped is read again from there, unchanged.
        let dropped = unsafe { madvise(start_at, end - start, MmapAdvise::MADV_DONTNEED) };
        // A kernel that will not keeps the pages: nothing is lost.
        let _kept = dropped.is_err();
    }
}

/// The range of a line of `/proc/self/maps`, if that is of the executable itself and as it is in the file:
/// its code, and the segment with its headers, which is the first. A later one that cannot be written to
/// may have been relocated before.
#[cfg(target_os = "linux")]
fn unwritten(line: &str, executable: &std::path::Path) -> Option<(usize, usize)> {
    let (range, rest) = line.split_once(' ')?;
    let is_kept = rest.starts_with("r-xp ") || rest.starts_with("r--p 00000000 ");
    let is_ours = is_kept && rest.ends_with(executable.to_str()?);
    let (start, end) = range.split_once('-').filter(|_| is_ours)?;
    let address = |text| usize::from_str_radix(text, 16).ok();
    Some((address(start)?, address(end)?))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::path::Path;

    use super::unwritten;

    #[test]
    fn only_what_the_executable_itself_has_in_its_file_is_given_back() {
        let ours = Path::new("/opt/bench ci/bench-ci");
        let range = Some((0x55d0_c000, 0x55d0_f000));
        let code = "55d0c000-55d0f000 r-xp 00001000 fe:00 12 /opt/bench ci/bench-ci";
        assert_eq!(unwritten(code, ours), range);
        let first = "55d0c000-55d0f000 r--p 00000000 fe:00 12 /opt/bench ci/bench-ci";
        assert_eq!(unwritten(first, ours), range);
        // Relocated data may differ from the file.
        assert_eq!(unwritten(&code.replace("r-xp", "r--p"), ours), None);
        assert_eq!(unwritten(&first.replace("r--p", "rw-p"), ours), None);
        assert_eq!(unwritten(&code.replace("bench-ci", "libc.so.6"), ours), None);
        assert_eq!(unwritten("55d0c000-55d0f000 r-xp 00000000 00:00 0 [vdso]", ours), None);
    }

    #[test]
    fn the_program_goes_on_after_it() {
        super::give_back();
        assert_eq!((1..=10).product::<u64>(), 3_628_800);
    }
}
