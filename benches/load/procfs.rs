//! What a server has used so far, from `/proc`. Elsewhere than on Linux nothing is known and the columns stay empty.

use std::{fs, time::Duration};

/// `/proc` counts in these on every architecture Linux runs on (`USER_HZ`).
const TICKS_PER_SECOND: u64 = 100;

/// User and system time of the process and its children (nginx works in those).
pub(crate) fn cpu(pid: u32) -> Option<Duration> {
    let ticks: u64 = family(pid).into_iter().filter_map(|pid| stat(pid)?.ticks()).sum();
    (ticks > 0).then(|| Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

/// The most memory the process and its children ever held, in bytes.
pub(crate) fn peak_memory(pid: u32) -> Option<u64> {
    let peak: u64 = family(pid).into_iter().filter_map(peak_of).sum();
    (peak > 0).then_some(peak)
}

/// Whether we run as root.
pub(crate) fn is_root() -> bool {
    field("self", "Uid:").is_some_and(|uid| uid == 0)
}

fn peak_of(pid: u32) -> Option<u64> {
    Some(field(&pid.to_string(), "VmHWM:")? * 1024)
}

/// The first number after `name` in a process's status.
fn field(process: &str, name: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

fn family(pid: u32) -> Vec<u32> {
    let mut pids = vec![pid];
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(child) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if stat(child).and_then(|stat| stat.parent()) == Some(pid) {
            pids.push(child);
        }
    }
    pids
}

/// The fields of `/proc/PID/stat` after the command's name, which may hold spaces.
struct Stat(Vec<String>);

fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    Some(Stat(fields.split_whitespace().map(str::to_owned).collect()))
}

// === impl Stat ===

impl Stat {
    fn parent(&self) -> Option<u32> {
        self.0.get(1)?.parse().ok()
    }

    fn ticks(&self) -> Option<u64> {
        let user: u64 = self.0.get(11)?.parse().ok()?;
        let system: u64 = self.0.get(12)?.parse().ok()?;
        Some(user + system)
    }
}
