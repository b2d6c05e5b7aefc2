//! Enters: a site's targets and `[site.health]`. Leaves: targets marked well or ill. It must never hold up a request:
//! checks run by themselves, on the proxy's own small runtime.

use std::{sync::Arc, time::Duration};

use http::HeaderValue;
use pingora::{
    Error, ErrorType,
    http::RequestHeader,
    lb::{
        Backend, Extensions,
        health_check::{HealthCheck, HttpHealthCheck, TcpHealthCheck},
    },
    protocols::l4::socket::SocketAddr,
};

use super::{
    sites::{Live, Site},
    target::Target,
};
use crate::config::HealthConfig;

/// Checks every target of every site that asks for it, until dropped.
pub(super) async fn watch(live: Arc<Live>) {
    let mut checks = tokio::task::JoinSet::new();
    for (site_index, site) in live.sites.iter().enumerate() {
        let Some(health) = site.health.clone() else { continue };
        for index in 0..site.targets.all.len() {
            let (live, health) = (Arc::clone(&live), health.clone());
            checks.spawn(async move { watch_target(&live.sites[site_index], index, &health).await });
        }
    }
    while checks.join_next().await.is_some() {}
}

async fn watch_target(site: &Site, index: usize, health: &HealthConfig) {
    let target = &site.targets.all[index];
    let Some(check) = checker(target, health) else { return };
    let backend = Backend { addr: SocketAddr::Inet(target.address), weight: 1, ext: Extensions::new() };
    let timeout = Duration::from_millis(health.timeout_ms);
    // How many checks in a row disagreed with the state in force.
    let mut against = 0;
    loop {
        let result = tokio::time::timeout(timeout, check.check(&backend)).await;
        let passed = matches!(result, Ok(Ok(())));
        let healthy = target.is_healthy();
        against = if passed == healthy { 0 } else { against + 1 };
        let needed = if passed { health.healthy_after } else { health.unhealthy_after };
        if against > 0 && against >= needed {
            against = 0;
            target.set_healthy(passed);
            let state = if passed { "healthy" } else { "unhealthy" };
            tracing::info!(site = %site.name, target = %target.name, state, "target changed state");
        }
        tokio::time::sleep(Duration::from_millis(health.interval_ms.max(50))).await;
    }
}

fn checker(target: &Target, health: &HealthConfig) -> Option<Box<dyn HealthCheck + Send + Sync>> {
    let timeout = Some(Duration::from_millis(health.timeout_ms));
    let Some(path) = &health.path else {
        let mut check = TcpHealthCheck::new();
        check.peer_template.options.connection_timeout = timeout;
        return Some(check);
    };
    let host = target.name.as_str();
    let mut check = HttpHealthCheck::new("localhost", target.peer.is_tls());
    check.peer_template = target.peer.clone();
    check.peer_template.options.connection_timeout = timeout;
    check.peer_template.options.read_timeout = timeout;
    check.reuse_connection = true;
    let mut request = RequestHeader::build("GET", path.as_bytes(), None).ok()?;
    request.insert_header(http::header::HOST, HeaderValue::from_str(host).ok()?).ok()?;
    request.insert_header(http::header::USER_AGENT, "qantra-health").ok()?;
    check.req = request;
    check.validator = Some(Box::new(|response| match response.status.as_u16() {
        200..400 => Ok(()),
        status => Err(Error::explain(ErrorType::HTTPStatus(status), "health check")),
    }));
    Some(Box::new(check))
}
