//! The HTTP load benchmark: the real release binary, driven over loopback beside nginx and a bare floor program.
//!
//! `make bench BENCH=load` runs it all in about five minutes; `ARGS=serve` only the scenarios with that word in the name.
//! Within a scenario the servers take turns (A, B, C, A, B, C …), so that a slow moment of the machine hits all of them:
//! read the ratios, not the seconds. For memory, a server that has just been started gets all its requests at the same time.
//!
//! `PICGATE_BENCH_SECONDS` is the length of one turn (3), `PICGATE_BENCH_BIN` another build of picgate to measure.

// A benchmark talks to a terminal, and a step that fails ends it.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod client;
mod floor;
mod procfs;
mod scenario;
mod server;
mod sink;
mod table;

use std::{env, process::ExitCode, time::Duration};

type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("floor") => return exit_code(floor::run(&args)),
        Some("sink") => return exit_code(sink::run(&args)),
        _ => {}
    }
    // `cargo test` runs benches too, without this flag: there is nothing to test here.
    if !args.iter().any(|arg| arg == "--bench") || args.iter().any(|arg| arg == "--test") {
        return ExitCode::SUCCESS;
    }
    let filter = args.iter().find(|arg| !arg.starts_with('-')).map_or("", String::as_str);
    exit_code(measure(filter))
}

fn measure(filter: &str) -> Result<()> {
    let seconds = match env::var("PICGATE_BENCH_SECONDS") {
        Ok(text) => text.parse().map_err(|_| format!("PICGATE_BENCH_SECONDS: `{text}` is not a number of seconds"))?,
        Err(_) => 3.0,
    };
    let scenarios: Vec<_> = scenario::ALL.iter().filter(|scenario| scenario.name.contains(filter)).collect();
    if scenarios.is_empty() {
        return Err(format!("no scenario has `{filter}` in its name").into());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let world = server::World::start()?;
        let mut rows = Vec::new();
        for scenario in scenarios {
            eprintln!("measuring {} …", scenario.name);
            rows.extend(scenario.measure(&world, Duration::try_from_secs_f64(seconds)?).await);
        }
        let failed = rows.iter().filter(|row| row.outcome.is_err()).count();
        print!("{}", table::render(&rows));
        if failed > 0 { Err(format!("{failed} rows failed").into()) } else { Ok(()) }
    })
}

fn exit_code(outcome: Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load bench: {error}");
            ExitCode::FAILURE
        }
    }
}
