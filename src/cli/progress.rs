//! How far a long command has come, on stderr.

use std::{
    io::{IsTerminal, Write, stderr},
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use crate::store::Progress;

/// A line that writes itself over, on a terminal.
const ON_A_TERMINAL: Duration = Duration::from_millis(200);
/// A line of its own elsewhere.
const ELSEWHERE: Duration = Duration::from_secs(5);

/// Does the work and tells meanwhile how far it is.
pub(super) fn shown<T>(progress: &Progress, work: impl FnOnce() -> T) -> T {
    let (done, is_done) = channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            let (start, terminal) = (Instant::now(), stderr().is_terminal());
            let pause = if terminal { ON_A_TERMINAL } else { ELSEWHERE };
            while is_done.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                let line = line(progress, start.elapsed());
                let (before, after) = if terminal { ("\r\x1b[K", "") } else { ("", "\n") };
                let _ = write!(stderr(), "{before}{line}{after}");
            }
            if terminal {
                let _ = write!(stderr(), "\r\x1b[K");
            }
        });
        let result = work();
        drop(done);
        result
    })
}

fn line(progress: &Progress, elapsed: Duration) -> String {
    let mut line = format!("{:3.0} %, {} pictures", progress.part() * 100.0, progress.pictures());
    if progress.bytes() > 0 {
        let rate = progress.bytes() as f64 / elapsed.as_secs_f64().max(0.001);
        line.push_str(&format!(", {}, {}/s", size(progress.bytes()), size(rate as u64)));
    }
    if progress.part() > 0.0 {
        let left = elapsed.mul_f64((1.0 - progress.part()) / progress.part());
        line.push_str(&format!(", {} left", time(left)));
    }
    line
}

/// Bytes as people read them.
pub(super) fn size(bytes: u64) -> String {
    let mut size = bytes as f64;
    for unit in ["B", "KiB", "MiB"] {
        if size < 1000.0 {
            return if unit == "B" { format!("{bytes} B") } else { format!("{size:.1} {unit}") };
        }
        size /= 1024.0;
    }
    format!("{size:.1} GiB")
}

fn time(time: Duration) -> String {
    match time.as_secs() {
        secs @ 0..120 => format!("{secs} s"),
        secs @ 120..7200 => format!("{} min", secs / 60),
        secs => format!("{} h {} min", secs / 3600, secs / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_short() {
        for (bytes, text) in
            [(0, "0 B"), (999, "999 B"), (1024, "1.0 KiB"), (5 << 20, "5.0 MiB"), (3 << 40, "3072.0 GiB")]
        {
            assert_eq!(size(bytes), text);
        }
        for (secs, text) in [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7260, "2 h 1 min")] {
            assert_eq!(time(Duration::from_secs(secs)), text);
        }
    }
}
