//! Enters: an address to listen on and one to forward to. Leaves: Qantra's proxy between them, with a judge that lets
//! everything pass: what `cargo xtask bench proxy` tells the cost of the proxy itself from the cost of judging by.

use std::{net::IpAddr, sync::Arc};

use qantra_user::{
    config::{Config, ListenConfig},
    flow::Observation,
    inspect::{RequestView, RuleSigns},
    proxy::{Judge, Judgement, Opinion, Proxy, ProxyCounters, RequestContext, Standing},
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Lenient;

impl Judge for Lenient {
    fn standing(&self, _client: IpAddr) -> Option<Standing> {
        None
    }

    fn judge(&self, _request: &RequestView<'_>, _context: &RequestContext<'_>, _signs: Option<RuleSigns>) -> Opinion {
        Opinion::Now(Judgement::Pass)
    }

    fn protocol_violation(&self, _context: &RequestContext<'_>, _violation: &'static str) {}

    fn observe(&self, _observation: Observation) {}
}

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(listen), Some(origin)) = (arguments.next(), arguments.next()) else {
        anyhow::bail!("usage: proxy_alone LISTEN ORIGIN, both as address:port");
    };
    let mut config: Config = toml::from_str(&format!(
        "[[site]]\nname = \"all\"\nhosts = [\"*\"]\n[[site.target]]\naddress = \"{origin}\"\n"
    ))?;
    config.listeners = vec![ListenConfig { address: listen.parse()?, tls: false, proxy_protocol: false }];
    config.proxy.threads = Some(1);
    let (_stop, stopped) = tokio::sync::watch::channel(false);
    let proxy = Proxy::bind(Arc::new(config))?.with_judge(Arc::new(Lenient), Arc::new(ProxyCounters::default()));
    Ok(proxy.run(stopped)?)
}
