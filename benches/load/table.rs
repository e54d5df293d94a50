//! The result: one aligned table.

use std::{fmt::Write, time::Duration};

use crate::Result;

/// One server in one scenario.
pub(crate) struct Row {
    pub(crate) scenario: &'static str,
    pub(crate) server: &'static str,
    pub(crate) outcome: Result<Figures>,
}

#[derive(Clone, Copy)]
pub(crate) struct Figures {
    /// The median over the rounds.
    pub(crate) rate: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    /// CPU seconds for a thousand requests.
    pub(crate) cpu: Option<f64>,
    /// Peak memory, in bytes.
    pub(crate) peak: Option<u64>,
    /// Bytes of it for each request, when all came at once.
    pub(crate) each: Option<f64>,
}

const HEAD: [&str; COLUMNS] =
    ["scenario", "server", "req/s", "ratio", "p50", "p99", "CPU s/1000", "CPU ratio", "peak MiB", "MiB each"];
const COLUMNS: usize = 10;

/// Rows of one scenario stand together; ratios are to its first row.
pub(crate) fn render(rows: &[Row]) -> String {
    let mut cells = vec![HEAD.map(str::to_owned)];
    let (mut scenario, mut first) = ("", None);
    for row in rows {
        let is_first = row.scenario != scenario;
        if is_first {
            scenario = row.scenario;
            first = row.outcome.as_ref().ok().copied();
        }
        let name = if is_first { scenario } else { "" };
        cells.push(line(name, row, first.filter(|_| !is_first)));
    }
    let mut widths = HEAD.map(width);
    for row in &cells {
        for (widest, cell) in widths.iter_mut().zip(row) {
            *widest = width(cell).max(*widest);
        }
    }
    let mut out = String::new();
    for row in &cells {
        let mut text = String::new();
        for (column, (cell, widest)) in row.iter().zip(widths).enumerate() {
            let pad = " ".repeat(widest - width(cell));
            // Words to the left, numbers to the right.
            let _ = if column < 2 { write!(text, "{cell}{pad}  ") } else { write!(text, "{pad}{cell}  ") };
        }
        let _ = writeln!(out, "{}", text.trim_end());
    }
    for Row { scenario, server, outcome } in rows {
        if let Err(error) = outcome {
            let _ = writeln!(out, "failed: {scenario}, {server}: {error}");
        }
    }
    out
}

fn line(scenario: &str, row: &Row, first: Option<Figures>) -> [String; COLUMNS] {
    let Ok(figures) = &row.outcome else {
        return [scenario, row.server, "failed", "", "", "", "", "", "", ""].map(str::to_owned);
    };
    let or_dash = |value: Option<f64>, digits: usize| value.map_or("-".to_owned(), |value| format!("{value:.digits$}"));
    let cpu_ratio = first.and_then(|first| Some(figures.cpu? / first.cpu?));
    [
        scenario.to_owned(),
        row.server.to_owned(),
        format!("{:.0}", figures.rate),
        first.map_or(String::new(), |first| format!("{:.2}", figures.rate / first.rate)),
        milliseconds(figures.p50),
        milliseconds(figures.p99),
        or_dash(figures.cpu, if figures.cpu.is_some_and(|cpu| cpu < 1.0) { 3 } else { 2 }),
        cpu_ratio.map_or(String::new(), |ratio| format!("{ratio:.2}")),
        or_dash(figures.peak.map(|bytes| mebibytes(bytes as f64)), 1),
        figures.each.map_or(String::new(), |bytes| format!("{:.2}", mebibytes(bytes))),
    ]
}

fn mebibytes(bytes: f64) -> f64 {
    bytes / f64::from(1 << 20)
}

fn milliseconds(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

fn width(cell: &str) -> usize {
    cell.chars().count()
}
