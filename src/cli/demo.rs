//! `picgate demo`: the gateway and a demo upstream, with nothing to configure.

use std::{
    fs,
    io::Write as _,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use tokio::runtime::Runtime;

use super::{Failure, run};
use crate::{
    access,
    config::{Config, Secret},
    demo::Demo,
    gateway::server::ServerSettings,
    telemetry::logging,
};

/// Between two words of a streamed text, so that a person sees it stream.
const TYPING: Duration = Duration::from_millis(15);
const METRICS_PORT: u16 = 9643;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Port of the gateway, on 127.0.0.1.
    #[arg(long, default_value_t = 5643)]
    port: u16,
    /// Where pictures are kept.
    #[arg(long, value_name = "DIR", default_value = "./data/demo")]
    data: PathBuf,
    /// The client key; made and remembered when not given.
    #[arg(long, env = "PICGATE_KEY", hide_env_values = true)]
    key: Option<Secret>,
}

pub(super) fn demo(options: &Options) -> Result<(), Failure> {
    logging::start("warn");
    let key = match &options.key {
        Some(key) if key.expose().trim().is_empty() => return Err(Failure::broken("--key must not be empty")),
        Some(key) => key.expose().to_owned(),
        None => remembered_key(&options.data)
            .map_err(|error| Failure::broken(format!("{}: {error}", options.data.display())))?,
    };
    let runtime = runtime()?;
    let upstream = runtime
        .block_on(Demo::builder().typing(TYPING).local())
        .map_err(|error| Failure::broken(format!("the demo upstream cannot listen: {error}")))?;
    // Held from here on: another demo may be starting.
    let metrics = TcpListener::bind((Ipv4Addr::LOCALHOST, METRICS_PORT)).ok();
    let config = config(options, &key, upstream.addr(), metrics.is_some())?;
    let settings = ServerSettings::in_data_dir(2, &options.data);
    let port = options.port;
    run::serve(settings, config, run::Start::Fresh { metrics }, None, |_, _| print_guide(port, &key))?;
    drop((upstream, runtime));
    Ok(())
}

pub(super) fn upstream(port: u16, no_inspect: bool) -> Result<(), Failure> {
    logging::start("warn");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .map_err(|error| Failure::broken(format!("cannot listen on 127.0.0.1:{port}: {error}")))?;
    runtime()?.block_on(async {
        let demo = Demo::builder().inspect(!no_inspect).start_std(listener).map_err(Failure::broken)?;
        println!("demo upstream: {}", demo.base_url());
        tokio::signal::ctrl_c().await.map_err(Failure::broken)
    })
}

fn runtime() -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(Failure::broken)
}

/// The demo's configuration, written as a user would write it.
fn config(options: &Options, key: &str, upstream: SocketAddr, has_metrics: bool) -> Result<Config, Failure> {
    let Options { port, data, .. } = options;
    let metrics = if has_metrics { format!("{{ addr: 127.0.0.1:{METRICS_PORT} }}") } else { "off".to_owned() };
    // JSON strings are YAML strings; `$${` is a `${` that is not to be looked up.
    let quoted = |text: &str| serde_json::Value::from(text.replace("${", "$${")).to_string();
    let text = format!(
        "picgate:
  listen: [ {{ addr: 127.0.0.1:{port} }} ]
  metrics: {metrics}
  public_base_url: http://localhost:{port}
  public_aliases: [ http://127.0.0.1:{port} ]
  data_dir: {data}
  keys: [ {{ name: demo, key: {key} }} ]
  upstreams: [ {{ name: demo, kind: openai, base_url: http://{upstream}/v1, api_key: sk-demo }} ]
  models: [ {{ name: picgate-image, targets: [ {{ upstream: demo, model: demo-image }} ] }}, {{ name: \"*\", targets: [ {{ upstream: demo }} ] }} ]
  fetch: {{ allow: [ 127.0.0.0/8 ] }}
",
        data = quoted(&data.to_string_lossy()),
        key = quoted(key),
    );
    let loaded = Config::parse(&text, Path::new("."), &|name| std::env::var(name).ok()).map_err(Failure::config)?;
    Ok(loaded.config)
}

/// The key of an earlier demo with this data directory, else a new one.
fn remembered_key(data: &Path) -> std::io::Result<String> {
    let path = data.join("demo-key");
    match fs::read_to_string(&path) {
        Ok(key) if !key.trim().is_empty() => return Ok(key.trim().to_owned()),
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let (key, _) = access::new_key("demo")?;
    fs::create_dir_all(data)?;
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    writeln!(file, "{key}")?;
    Ok(key)
}

fn print_guide(port: u16, key: &str) {
    println!(
        r#"picgate demo is running. It draws its pictures itself: no account, no upstream key.

  Base URL   http://localhost:{port}/v1
  API key    {key}
  Models     picgate-image, demo-image, gpt-image-demo, demo-chat
  Admin      http://localhost:{port}/admin/

Try it with curl:

  curl http://localhost:{port}/v1/images/generations \
    -H "Authorization: Bearer {key}" \
    -H "Content-Type: application/json" \
    -d '{{"model":"picgate-image","prompt":"a lighthouse at dawn"}}'

or with Python (pip install openai):

  from openai import OpenAI
  client = OpenAI(base_url="http://localhost:{port}/v1", api_key="{key}")
  picture = client.images.generate(model="picgate-image", prompt="a lighthouse at dawn")
  print(picture.data[0].url)

Stop it with Ctrl-C. The URLs still work when it runs again."#
    );
}
