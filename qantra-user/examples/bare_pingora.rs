//! Enters: an address to listen on and one to forward to. Leaves: plain Pingora between them, the peer that `cargo xtask
//! bench proxy` measures Qantra against. It must never do more than Pingora's own example of a proxy does, and it is
//! built as the daemon is: same profile, same allocator, one worker.

use async_trait::async_trait;
use pingora::{
    Result,
    proxy::{ProxyHttp, Session},
    server::{Server, configuration::ServerConf},
    upstreams::peer::HttpPeer,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Bare {
    origin: std::net::SocketAddr,
}

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.origin, false, String::new())))
    }
}

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(listen), Some(origin)) = (arguments.next(), arguments.next()) else {
        anyhow::bail!("usage: bare_pingora LISTEN ORIGIN, both as address:port");
    };
    let conf = ServerConf { threads: 1, upstream_keepalive_pool_size: 256, ..ServerConf::default() };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let mut service = pingora::proxy::http_proxy_service(&server.configuration, Bare { origin: origin.parse()? });
    service.add_tcp(&listen);
    server.add_service(service);
    server.run_forever()
}
