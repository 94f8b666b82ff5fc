//! The host: CPU, memory and disks in use, as ratios from 0 to 1.
//!
//! Where a control group limits CPU or memory, the share of that limit is told, because that is
//! what the process can run out of. Reading blocks, so it happens on a thread of its own.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use sysinfo::{DiskRefreshKind, Disks, MINIMUM_CPU_UPDATE_INTERVAL, System};
use tokio::task::JoinHandle;

use super::cgroup::{self, Cgroup, CpuLimit};
use super::{CollectError, Collector};
use crate::model::catalogue::{self, Desc};
use crate::registry::Sample;

/// File systems told at most, the shortest mount points first.
const MAX_DISKS: usize = 100;

/// File systems that are not on a disk, or cannot be written and so are always full. `sysinfo`
/// leaves out further ones, and network mounts, by itself.
const NOT_DISKS: [&str; 16] = [
    "autofs",
    "binfmt_misc",
    "bpf",
    "configfs",
    "debugfs",
    "devtmpfs",
    "efivarfs",
    "erofs",
    "fusectl",
    "iso9660",
    "nsfs",
    "ramfs",
    "securityfs",
    "squashfs",
    "tmpfs",
    "tracefs",
];

/// Reads the host through `sysinfo` and the control groups.
#[derive(Debug, Default)]
pub struct SystemCollector {
    /// The ledger's folder; its file system is told by itself.
    ledger: Option<PathBuf>,
    /// The reader at rest; `None` while it reads, and after it panicked.
    reader: Option<Reader>,
    /// A read that was not done when its time was over. It is awaited, not repeated: a disk that
    /// does not answer costs one thread, not one each round.
    reading: Option<JoinHandle<(Reader, Result<Reading, sysinfo::Error>)>>,
}

impl SystemCollector {
    /// A collector that also tells how full the file system with this folder is.
    #[must_use]
    pub fn with_ledger(folder: PathBuf) -> Self {
        Self {
            ledger: Some(folder),
            ..Self::default()
        }
    }
}

impl Collector for SystemCollector {
    fn name(&self) -> &'static str {
        "system"
    }

    fn collect(&mut self, now: Timestamp) -> BoxFuture<'_, Result<Vec<Sample>, CollectError>> {
        Box::pin(async move {
            let mut reader = self.reader.take().unwrap_or_default();
            let ledger = self.ledger.clone();
            let reading = self.reading.get_or_insert_with(|| {
                tokio::task::spawn_blocking(move || {
                    let reading = reader.read(now, ledger.as_deref());
                    (reader, reading)
                })
            });
            let done = reading.await;
            self.reading = None;
            let (reader, reading) = done.map_err(|error| failed(error.into()))?;
            self.reader = Some(reader);
            let reading = reading.map_err(|error| failed(error.into()))?;
            Ok(samples(&reading))
        })
    }
}

fn failed(source: Box<dyn std::error::Error + Send + Sync>) -> CollectError {
    CollectError::Read {
        what: "the system",
        source,
    }
}

/// What was read in one round.
#[derive(Debug, Default, PartialEq)]
struct Reading {
    /// `None` in the first round: use is a difference.
    cpu: Option<f64>,
    memory: Option<f64>,
    disks: Vec<Disk>,
    /// The share in use where the ledger is.
    ledger_disk: Option<f64>,
}

/// A mounted file system.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Disk {
    device: String,
    mountpoint: String,
    kind: String,
    total_bytes: u64,
    available_bytes: u64,
}

/// What has to be kept between two rounds.
#[derive(Debug, Default)]
struct Reader {
    system: Option<System>,
    before: Option<(Timestamp, Option<CpuLimit>)>,
}

impl Reader {
    fn read(&mut self, now: Timestamp, ledger: Option<&Path>) -> Result<Reading, sysinfo::Error> {
        let system = match &mut self.system {
            Some(system) => system,
            None => self.system.insert(System::new()?),
        };
        system.refresh_memory();
        system.refresh_cpu_usage();
        let storage = DiskRefreshKind::nothing().with_storage();
        let disks = Disks::new_with_refreshed_list_specifics(storage)?;
        let limits = cgroup::read(&|path: &str| std::fs::read_to_string(path).ok());

        let elapsed = self.before.map(|(at, _)| elapsed(at, now));
        let used_before = self.before.and_then(|(_, cpu)| cpu);
        self.before = Some((now, limits.cpu));
        let host_cpu = f64::from(system.global_cpu_usage()) / 100.0;
        let host_memory = (system.total_memory(), system.available_memory());
        let disks: Vec<Disk> = disks.iter().map(disk).collect();
        Ok(Reading {
            ledger_disk: ledger.and_then(|folder| in_use_at(folder, &disks)),
            cpu: elapsed.and_then(|elapsed| cpu(host_cpu, used_before, limits.cpu, elapsed)),
            memory: memory(host_memory, limits),
            disks,
        })
    }
}

/// The share in use of the file system that holds a folder; `None` if it is not among the disks.
fn in_use_at(folder: &Path, disks: &[Disk]) -> Option<f64> {
    let folder = folder.canonicalize().ok()?;
    let disk = holder(&folder, disks)?;
    let device = |path: &Path| path.metadata().ok().map(|metadata| metadata.dev());
    // `sysinfo` leaves mounts out: the folder may lie on one of those.
    (device(&folder) == device(Path::new(&disk.mountpoint))).then_some(())?;
    in_use(disk)
}

/// The disk whose mount point is nearest above a folder; of several at one place the last one is
/// seen there.
fn holder<'a>(folder: &Path, disks: &'a [Disk]) -> Option<&'a Disk> {
    let above = disks
        .iter()
        .filter(|disk| folder.starts_with(&disk.mountpoint));
    above.max_by_key(|disk| disk.mountpoint.len())
}

fn in_use(disk: &Disk) -> Option<f64> {
    let used = disk.total_bytes.saturating_sub(disk.available_bytes);
    ratio(used, disk.total_bytes)
}

fn disk(disk: &sysinfo::Disk) -> Disk {
    Disk {
        device: disk.name().to_string_lossy().into_owned(),
        mountpoint: disk.mount_point().to_string_lossy().into_owned(),
        kind: disk.file_system().to_string_lossy().into_owned(),
        total_bytes: disk.total_space(),
        available_bytes: disk.available_space(),
    }
}

/// Zero when the clock was set back.
fn elapsed(before: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(before)).unwrap_or_default()
}

/// The share of the CPU in use, of the limit if there was one all the time. `None` if the time
/// is too short for an answer.
fn cpu(
    host: f64,
    before: Option<CpuLimit>,
    limit: Option<CpuLimit>,
    elapsed: Duration,
) -> Option<f64> {
    if elapsed < MINIMUM_CPU_UPDATE_INTERVAL {
        return None;
    }
    let (Some(before), Some(limit)) = (before, limit) else {
        return Some(host.clamp(0.0, 1.0));
    };
    let used = limit.used.saturating_sub(before.used).as_secs_f64();
    let share = used / (elapsed.as_secs_f64() * limit.cpus);
    Some(share.clamp(0.0, 1.0))
}

/// The share of the memory in use; the host is given as total and available bytes.
fn memory((total, available): (u64, u64), limits: Cgroup) -> Option<f64> {
    match limits.memory {
        // A limit above what the host has limits nothing.
        Some(limit) if limit.limit_bytes < total => ratio(limit.used_bytes, limit.limit_bytes),
        _ => ratio(total.saturating_sub(available), total),
    }
}

/// `None` where there is nothing to have a share of.
fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| (part as f64 / whole as f64).clamp(0.0, 1.0))
}

/// One file system for each device, at its shortest mount point: others are further views of
/// the same space.
fn one_per_device(disks: &[Disk]) -> Vec<&Disk> {
    let mut by_device: BTreeMap<&str, &Disk> = BTreeMap::new();
    let rank = |disk: &Disk| (disk.mountpoint.len(), disk.mountpoint.clone());
    for disk in disks {
        if NOT_DISKS.contains(&disk.kind.as_str()) || disk.total_bytes == 0 {
            continue;
        }
        let kept = by_device.entry(&disk.device).or_insert(disk);
        if rank(disk) < rank(kept) {
            *kept = disk;
        }
    }
    // Two devices can be mounted over each other at one place; the last one is seen there.
    let mut by_place: BTreeMap<_, &Disk> = BTreeMap::new();
    for disk in disks {
        if by_device.get(disk.device.as_str()) == Some(&disk) {
            by_place.insert(rank(disk), disk);
        }
    }
    by_place.into_values().take(MAX_DISKS).collect()
}

fn samples(reading: &Reading) -> Vec<Sample> {
    let sample = |desc: &'static Desc, labels: Vec<String>, value| Sample {
        desc,
        labels,
        value,
    };
    let mut samples = Vec::new();
    if let Some(cpu) = reading.cpu {
        samples.push(sample(catalogue::CPU_UTILIZATION, Vec::new(), cpu));
    }
    if let Some(memory) = reading.memory {
        samples.push(sample(catalogue::MEMORY_UTILIZATION, Vec::new(), memory));
    }
    for disk in one_per_device(&reading.disks) {
        if let Some(used) = in_use(disk) {
            let labels = vec![disk.mountpoint.clone()];
            samples.push(sample(catalogue::DISK_UTILIZATION, labels, used));
        }
    }
    if let Some(used) = reading.ledger_disk {
        let desc = catalogue::LEDGER_DISK_UTILIZATION;
        samples.push(sample(desc, Vec::new(), used));
    }
    samples
}

#[cfg(test)]
mod tests {
    use super::super::cgroup::MemoryLimit;
    use super::*;

    fn mount(device: &str, mountpoint: &str, kind: &str, available_bytes: u64) -> Disk {
        Disk {
            device: device.to_owned(),
            mountpoint: mountpoint.to_owned(),
            kind: kind.to_owned(),
            total_bytes: 100,
            available_bytes,
        }
    }

    fn limit(cpus: f64, used_millis: u64) -> CpuLimit {
        CpuLimit {
            cpus,
            used: Duration::from_millis(used_millis),
        }
    }

    #[test]
    fn a_device_is_told_once_at_its_shortest_mount_point() {
        let disks = [
            mount("/dev/vda", "/etc/hosts", "ext4", 40),
            mount("/dev/vda", "/", "ext4", 40),
            mount("/dev/vdb", "/data", "xfs", 75),
            mount("tmpfs", "/dev/shm", "tmpfs", 100),
            mount("/dev/loop1", "/snap/x", "squashfs", 0),
            mount("/dev/old", "/mnt", "ext4", 0),
            mount("/dev/new", "/mnt", "ext4", 90),
        ];
        let reading = Reading {
            cpu: None,
            memory: Some(0.25),
            disks: disks.to_vec(),
            ledger_disk: None,
        };
        let told: Vec<_> = samples(&reading)
            .into_iter()
            .map(|sample| (sample.desc.name, sample.labels.join(""), sample.value))
            .collect();
        let disk = catalogue::DISK_UTILIZATION.name;
        let expected = [
            (catalogue::MEMORY_UTILIZATION.name, String::new(), 0.25),
            (disk, "/".to_owned(), 0.6),
            (disk, "/mnt".to_owned(), 0.1),
            (disk, "/data".to_owned(), 0.25),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn a_folder_lies_on_the_disk_that_is_mounted_nearest_above_it() {
        let disks = [
            mount("/dev/vda", "/", "ext4", 40),
            mount("/dev/old", "/var/lib", "ext4", 0),
            mount("/dev/vdb", "/var/lib", "xfs", 75),
            mount("/dev/vdc", "/var/lib/tallyd-old", "xfs", 1),
        ];
        let of = |folder: &str| holder(Path::new(folder), &disks).map(|disk| &*disk.device);
        assert_eq!(of("/var/lib/tallyd"), Some("/dev/vdb"));
        assert_eq!(of("/srv"), Some("/dev/vda"));
        assert_eq!(in_use(&disks[2]), Some(0.25));
    }

    #[test]
    fn cpu_use_is_a_share_of_the_limit() {
        let second = Duration::from_secs(1);
        let used = |before, after| cpu(0.9, before, after, second);
        let half = Some(limit(0.5, 1_000));
        assert_eq!(used(half, Some(limit(0.5, 1_250))), Some(0.5));
        assert_eq!(used(half, Some(limit(0.5, 9_000))), Some(1.0));
        assert_eq!(used(half, Some(limit(0.5, 900))), Some(0.0));
        assert_eq!(used(None, None), Some(0.9));
        assert_eq!(used(None, half), Some(0.9));
        assert_eq!(cpu(0.9, half, half, Duration::ZERO), None);
    }

    #[test]
    fn memory_use_is_a_share_of_the_limit_if_that_is_below_the_host() {
        let with = |limit_bytes| Cgroup {
            cpu: None,
            memory: Some(MemoryLimit {
                limit_bytes,
                used_bytes: 30,
            }),
        };
        assert_eq!(memory((1_000, 900), with(60)), Some(0.5));
        assert_eq!(memory((1_000, 900), with(5_000)), Some(0.1));
        assert_eq!(memory((1_000, 900), Cgroup::default()), Some(0.1));
        assert_eq!(memory((0, 0), Cgroup::default()), None);
    }

    #[test]
    fn a_clock_set_back_is_no_time_at_all() {
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(elapsed(at(10), at(12)), Duration::from_secs(2));
        assert_eq!(elapsed(at(10), at(5)), Duration::ZERO);
    }

    #[tokio::test]
    async fn this_machine_has_memory() {
        let mut collector = SystemCollector::default();
        let samples = collector.collect(Timestamp::UNIX_EPOCH).await.unwrap();
        assert!(samples.iter().all(|s| (0.0..=1.0).contains(&s.value)));
        let names: Vec<_> = samples.iter().map(|sample| sample.desc.name).collect();
        assert!(names.contains(&catalogue::MEMORY_UTILIZATION.name));
        assert!(!names.contains(&catalogue::CPU_UTILIZATION.name));
    }
}
