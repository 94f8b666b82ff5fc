//! The limits that a container sets: control groups, version 2 and version 1.
//!
//! Reading is a function argument, so that all of it is tested with strings. Paths inside a
//! container: the group named in `/proc/self/cgroup` if it is there, else the root of the mount,
//! which in a container is its own group.

use std::time::Duration;

const ROOT: &str = "/sys/fs/cgroup";

/// Version 1 writes a number of this size where there is no limit.
const NO_LIMIT_V1: u64 = 1 << 60;

/// What applies to this process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Cgroup {
    pub(super) cpu: Option<CpuLimit>,
    pub(super) memory: Option<MemoryLimit>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct CpuLimit {
    /// CPUs that may be used, 0.5 for half of one.
    pub(super) cpus: f64,
    /// CPU time used since the group began.
    pub(super) used: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MemoryLimit {
    pub(super) limit_bytes: u64,
    /// Without file pages that the kernel would give up first.
    pub(super) used_bytes: u64,
}

/// Reads the limits; `read` returns the text of a file, or `None` if it cannot be read.
pub(super) fn read(read: &impl Fn(&str) -> Option<String>) -> Cgroup {
    let groups = read("/proc/self/cgroup").unwrap_or_default();
    let group = |controller: &str| Group {
        read,
        paths: paths(&groups, controller),
    };
    let unified = group("");
    let (cpu, cpuacct, memory) = (group("cpu"), group("cpuacct"), group("memory"));
    Cgroup {
        cpu: cpu_v2(&unified).or_else(|| cpu_v1(&cpu, &cpuacct)),
        memory: memory_v2(&unified).or_else(|| memory_v1(&memory)),
    }
}

/// Where a group's files may be.
struct Group<'a, R> {
    read: &'a R,
    paths: [String; 2],
}

impl<R: Fn(&str) -> Option<String>> Group<'_, R> {
    fn file(&self, name: &str) -> Option<String> {
        self.paths
            .iter()
            .find_map(|path| (self.read)(&format!("{path}/{name}")))
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.file(name)?.trim().parse().ok()
    }
}

/// The group of a controller, the empty name being version 2's only one.
fn paths(groups: &str, controller: &str) -> [String; 2] {
    let mut own = "";
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        if controllers.split(',').any(|name| name == controller) {
            own = path.trim_end_matches('/');
        }
    }
    let root = match controller {
        "" => ROOT.to_owned(),
        _ => format!("{ROOT}/{controller}"),
    };
    [format!("{root}{own}"), root]
}

fn cpu_v2(group: &Group<'_, impl Fn(&str) -> Option<String>>) -> Option<CpuLimit> {
    let cpus = parse_cpu_max(&group.file("cpu.max")?)?;
    let used = field(&group.file("cpu.stat")?, "usage_usec")?;
    Some(CpuLimit {
        cpus,
        used: Duration::from_micros(used),
    })
}

fn cpu_v1<R: Fn(&str) -> Option<String>>(
    cpu: &Group<'_, R>,
    cpuacct: &Group<'_, R>,
) -> Option<CpuLimit> {
    let quota: i64 = cpu.number("cpu.cfs_quota_us")?;
    let period: i64 = cpu.number("cpu.cfs_period_us")?;
    let used: u64 = cpuacct.number("cpuacct.usage")?;
    if quota <= 0 || period <= 0 {
        return None;
    }
    Some(CpuLimit {
        cpus: quota as f64 / period as f64,
        used: Duration::from_nanos(used),
    })
}

fn memory_v2(group: &Group<'_, impl Fn(&str) -> Option<String>>) -> Option<MemoryLimit> {
    // Without a limit the file says `max`, which is no number.
    let limit_bytes = group.number("memory.max")?;
    let current: u64 = group.number("memory.current")?;
    let inactive = field(&group.file("memory.stat")?, "inactive_file").unwrap_or(0);
    Some(MemoryLimit {
        limit_bytes,
        used_bytes: current.saturating_sub(inactive),
    })
}

fn memory_v1(group: &Group<'_, impl Fn(&str) -> Option<String>>) -> Option<MemoryLimit> {
    let limit_bytes = group.number("memory.limit_in_bytes")?;
    let usage: u64 = group.number("memory.usage_in_bytes")?;
    let inactive = field(&group.file("memory.stat")?, "total_inactive_file").unwrap_or(0);
    (limit_bytes < NO_LIMIT_V1).then(|| MemoryLimit {
        limit_bytes,
        used_bytes: usage.saturating_sub(inactive),
    })
}

/// CPUs in a text such as `50000 100000`; `None` for `max 100000`.
fn parse_cpu_max(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    let quota: u64 = quota.parse().ok()?;
    let period: u64 = period.parse().ok()?;
    (quota > 0 && period > 0).then(|| quota as f64 / period as f64)
}

/// The number behind a name in lines of `name number`.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(found, _)| *found == name)
        .and_then(|(_, number)| number.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(files: &[(&str, &str)]) -> Cgroup {
        read(&|path: &str| {
            let found = files.iter().find(|(name, _)| *name == path);
            found.map(|(_, text)| (*text).to_owned())
        })
    }

    const CPU_STAT: &str = "usage_usec 2500000\nuser_usec 1000000\nsystem_usec 1500000\n";

    #[test]
    fn a_container_of_version_2_sees_its_group_at_the_root() {
        let found = given(&[
            ("/proc/self/cgroup", "0::/\n"),
            ("/sys/fs/cgroup/cpu.max", "150000 100000\n"),
            ("/sys/fs/cgroup/cpu.stat", CPU_STAT),
            ("/sys/fs/cgroup/memory.max", "1073741824\n"),
            ("/sys/fs/cgroup/memory.current", "536870912\n"),
            (
                "/sys/fs/cgroup/memory.stat",
                "anon 1\ninactive_anon 7\ninactive_file 268435456\n",
            ),
        ]);
        let expected = Cgroup {
            cpu: Some(CpuLimit {
                cpus: 1.5,
                used: Duration::from_millis(2_500),
            }),
            memory: Some(MemoryLimit {
                limit_bytes: 1 << 30,
                used_bytes: 1 << 28,
            }),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn a_service_with_limits_is_found_by_its_path() {
        let group = "/sys/fs/cgroup/system.slice/tallyd.service";
        let found = given(&[
            ("/proc/self/cgroup", "0::/system.slice/tallyd.service\n"),
            (&format!("{group}/cpu.max"), "max 100000\n"),
            (&format!("{group}/cpu.stat"), CPU_STAT),
            (&format!("{group}/memory.max"), "100\n"),
            (&format!("{group}/memory.current"), "40\n"),
            (&format!("{group}/memory.stat"), "inactive_file 50\n"),
        ]);
        let memory = Some(MemoryLimit {
            limit_bytes: 100,
            used_bytes: 0,
        });
        assert_eq!(found, Cgroup { cpu: None, memory });
    }

    #[test]
    fn a_container_of_version_1_whose_path_is_the_hosts_is_read_at_the_root() {
        let found = given(&[
            (
                "/proc/self/cgroup",
                "4:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc\n1:name=systemd:/\n",
            ),
            ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "50000\n"),
            ("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
            ("/sys/fs/cgroup/cpuacct/cpuacct.usage", "3000000000\n"),
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "1000\n"),
            ("/sys/fs/cgroup/memory/memory.usage_in_bytes", "900\n"),
            (
                "/sys/fs/cgroup/memory/memory.stat",
                "inactive_file 1\ntotal_inactive_file 300\n",
            ),
        ]);
        let expected = Cgroup {
            cpu: Some(CpuLimit {
                cpus: 0.5,
                used: Duration::from_secs(3),
            }),
            memory: Some(MemoryLimit {
                limit_bytes: 1_000,
                used_bytes: 600,
            }),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn where_there_is_no_limit_the_host_counts() {
        let version_1 = [
            ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"),
            ("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
            ("/sys/fs/cgroup/cpuacct/cpuacct.usage", "1\n"),
            (
                "/sys/fs/cgroup/memory/memory.limit_in_bytes",
                "9223372036854771712\n",
            ),
            ("/sys/fs/cgroup/memory/memory.usage_in_bytes", "1\n"),
            ("/sys/fs/cgroup/memory/memory.stat", ""),
        ];
        let version_2 = [
            ("/proc/self/cgroup", "0::/\n"),
            ("/sys/fs/cgroup/memory.max", "max\n"),
            ("/sys/fs/cgroup/cpu.max", "garbage"),
        ];
        assert_eq!(given(&version_1), Cgroup::default());
        assert_eq!(given(&version_2), Cgroup::default());
        assert_eq!(given(&[]), Cgroup::default());
    }
}
