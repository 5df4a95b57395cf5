//! The CPU limit of the control group that this process is in.
//!
//! Main function: [`cgroup_cpu_limit`]. It knows both versions of control groups, nested and as
//! seen from inside a container; memory limits are not its concern.

use std::fs;
use std::path::Path;

/// CPUs that the strictest group around this process may use, such as 1.5; `None` without a limit.
///
/// `root` is `/`, or a test's tree of the same shape. Version 2 reads `cpu.max`, version 1
/// `cpu.cfs_quota_us` over `cpu.cfs_period_us`, of the process's group and of all above it,
/// because a limit anywhere above holds too. Inside a container whose `/proc` names the host's
/// path, that path does not exist and the mount's own top is the group.
pub(super) fn cgroup_cpu_limit(root: &Path) -> Option<f64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let mount = root.join("sys/fs/cgroup");
    let mut strictest: Option<f64> = None;
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_hierarchy), Some(controllers), Some(group)) =
            (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let read: fn(&Path) -> Option<f64>;
        let mounts = if controllers.is_empty() {
            read = version_2;
            // `unified` is where systemd's hybrid mode puts it.
            vec![mount.clone(), mount.join("unified")]
        } else if controllers.split(',').any(|controller| controller == "cpu") {
            read = version_1;
            vec![mount.join(controllers), mount.join("cpu"), mount.join("cpu,cpuacct")]
        } else {
            continue;
        };
        for mount in mounts {
            let own = mount.join(group.trim_start_matches('/'));
            for folder in own.ancestors().take_while(|folder| folder.starts_with(&mount)) {
                if let Some(limit) = read(folder) {
                    strictest = Some(strictest.map_or(limit, |other| other.min(limit)));
                }
            }
        }
    }
    strictest
}

fn version_2(folder: &Path) -> Option<f64> {
    let text = fs::read_to_string(folder.join("cpu.max")).ok()?;
    let (quota, period) = text.trim().split_once(' ')?;
    // "max" is no limit and no number.
    ratio(quota.parse().ok()?, period.parse().ok()?)
}

fn version_1(folder: &Path) -> Option<f64> {
    let number =
        |name: &str| fs::read_to_string(folder.join(name)).ok()?.trim().parse::<f64>().ok();
    // A quota of -1 is no limit.
    ratio(number("cpu.cfs_quota_us")?, number("cpu.cfs_period_us")?)
}

fn ratio(quota: f64, period: f64) -> Option<f64> {
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree with these files.
    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("inside the tree")).expect("a folder");
            fs::write(path, text).expect("a file");
        }
        root
    }

    fn limit(files: &[(&str, &str)]) -> Option<String> {
        cgroup_cpu_limit(tree(files).path()).map(|limit| limit.to_string())
    }

    #[test]
    fn version_2_takes_the_strictest_group_above() {
        let group = ("proc/self/cgroup", "0::/a/b\n");
        assert_eq!(limit(&[group, ("sys/fs/cgroup/a/b/cpu.max", "max 100000\n")]), None);
        assert_eq!(
            limit(&[
                group,
                ("sys/fs/cgroup/a/b/cpu.max", "300000 100000\n"),
                ("sys/fs/cgroup/a/cpu.max", "150000 100000\n"),
                ("sys/fs/cgroup/c/cpu.max", "1000 100000\n"),
            ]),
            Some("1.5".to_owned())
        );
    }

    #[test]
    fn version_1_reads_quota_over_period() {
        let group = ("proc/self/cgroup", "5:memory:/x\n4:cpu,cpuacct:/docker/abc\n0::/\n");
        let period = "100000\n";
        assert_eq!(
            limit(&[
                group,
                ("sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us", "200000\n"),
                ("sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us", period),
            ]),
            Some("2".to_owned())
        );
        // From inside the container the path of the host is not there.
        assert_eq!(
            limit(&[
                group,
                ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "50000\n"),
                ("sys/fs/cgroup/cpu/cpu.cfs_period_us", period),
            ]),
            Some("0.5".to_owned())
        );
        assert_eq!(
            limit(&[
                group,
                ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"),
                ("sys/fs/cgroup/cpu/cpu.cfs_period_us", period),
            ]),
            None
        );
    }

    #[test]
    fn no_control_groups_are_no_limit() {
        assert_eq!(limit(&[]), None);
        assert_eq!(
            limit(&[("proc/self/cgroup", "nonsense\n0::/\n"), ("sys/fs/cgroup/cpu.max", "")]),
            None
        );
    }
}
