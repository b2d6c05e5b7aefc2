//! Enters: an origin's response head. Leaves: the same head without what tells about its technology, and with the
//! fields that browsers heed. It must never loosen what the application set by itself.

use http::{HeaderName, HeaderValue, header};
use pingora::{Result, http::ResponseHeader};

use crate::config::HeadersConfig;

/// `[site.headers]`, with every value built once.
#[derive(Debug, Clone)]
pub(super) struct Hardening {
    hide_technology: bool,
    hsts: Option<HeaderValue>,
    content_security_policy: Option<HeaderValue>,
    nosniff: bool,
    frame_options: Option<HeaderValue>,
    referrer_policy: Option<HeaderValue>,
    secure_cookies: bool,
}

const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");

impl Hardening {
    /// Builds the values; the key whose text cannot stand in a header is returned otherwise.
    pub(super) fn new(config: &HeadersConfig) -> Result<Self, &'static str> {
        let value = |key, text: &str| match text {
            "" => Ok(None),
            text => HeaderValue::from_str(text).map(Some).map_err(|_| key),
        };
        let hsts = match config.hsts_seconds {
            0 => None,
            seconds => HeaderValue::from_str(&format!("max-age={seconds}")).ok(),
        };
        Ok(Self {
            hide_technology: config.hide_technology,
            hsts,
            content_security_policy: value("content_security_policy", &config.content_security_policy)?,
            nosniff: config.nosniff,
            frame_options: value("frame_options", &config.frame_options)?,
            referrer_policy: value("referrer_policy", &config.referrer_policy)?,
            secure_cookies: config.secure_cookies,
        })
    }

    /// Changes one response head; `over_tls` is how the client reached us.
    pub(super) fn apply(&self, response: &mut ResponseHeader, over_tls: bool) -> Result<()> {
        if self.hide_technology {
            while let Some(name) = response.headers.keys().find(|name| tells_technology(name)).cloned() {
                response.remove_header(&name);
            }
        }
        if over_tls {
            set_where_absent(response, "Strict-Transport-Security", self.hsts.as_ref())?;
        }
        set_where_absent(response, "Content-Security-Policy", self.content_security_policy.as_ref())?;
        if self.nosniff {
            response.insert_header("X-Content-Type-Options", NOSNIFF)?;
        }
        set_where_absent(response, "X-Frame-Options", self.frame_options.as_ref())?;
        set_where_absent(response, "Referrer-Policy", self.referrer_policy.as_ref())?;
        if self.secure_cookies && response.headers.contains_key(header::SET_COOKIE) {
            secure_cookies(response, over_tls)?;
        }
        Ok(())
    }
}

fn set_where_absent(response: &mut ResponseHeader, name: &'static str, value: Option<&HeaderValue>) -> Result<()> {
    match value {
        Some(value) if !response.headers.contains_key(name) => response.insert_header(name, value.clone()),
        _ => Ok(()),
    }
}

/// Fields by which servers, frameworks and caches name themselves.
fn tells_technology(name: &HeaderName) -> bool {
    if *name == header::SERVER || *name == header::VIA {
        return true;
    }
    let name = name.as_str();
    let Some(rest) = name.strip_prefix("x-") else {
        return matches!(
            name,
            "liferay-portal" | "microsoftsharepointteamservices" | "sprequestguid" | "server-version"
        );
    };
    rest.starts_with("aspnet")
        || rest.starts_with("powered-")
        || rest.starts_with("drupal-")
        || rest.starts_with("jenkins")
        || rest.starts_with("debug-token")
        || matches!(
            rest,
            "generator"
                | "runtime"
                | "server"
                | "server-name"
                | "backend"
                | "backend-server"
                | "varnish"
                | "redirect-by"
                | "mod-pagespeed"
                | "page-speed"
                | "litespeed-cache"
                | "owa-version"
                | "php-version"
                | "rack-cache"
                | "turbo-charged-by"
                | "version"
                | "cms"
                | "framework"
                | "application-context"
        )
}

fn secure_cookies(response: &mut ResponseHeader, over_tls: bool) -> Result<()> {
    let cookies = || response.headers.get_all(header::SET_COOKIE).iter();
    let secured: Vec<Option<HeaderValue>> = cookies().map(|cookie| secure_cookie(cookie, over_tls)).collect();
    if secured.iter().all(Option::is_none) {
        return Ok(());
    }
    let all: Vec<HeaderValue> =
        cookies().zip(secured).map(|(cookie, secured)| secured.unwrap_or_else(|| cookie.clone())).collect();
    response.remove_header(&header::SET_COOKIE);
    for cookie in all {
        response.append_header(header::SET_COOKIE, cookie)?;
    }
    Ok(())
}

/// The cookie with what it lacks; `None` when it lacks nothing.
fn secure_cookie(cookie: &HeaderValue, over_tls: bool) -> Option<HeaderValue> {
    let text = cookie.as_bytes();
    let mut parts = text.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let name = parts.next().and_then(|pair| pair.split(|byte| *byte == b'=').next()).unwrap_or_default();
    let (mut secure, mut http_only, mut same_site) = (false, false, false);
    for attribute in parts {
        let key = attribute.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii();
        secure |= key.eq_ignore_ascii_case(b"secure");
        http_only |= key.eq_ignore_ascii_case(b"httponly");
        same_site |= key.eq_ignore_ascii_case(b"samesite");
    }
    let mut extra: Vec<u8> = Vec::new();
    if over_tls && !secure {
        extra.extend(b"; Secure");
    }
    // A double-submit token against cross-site requests is there for the page's own script to read.
    let lower = name.to_ascii_lowercase();
    let is_token = memchr::memmem::find(&lower, b"csrf").is_some() || memchr::memmem::find(&lower, b"xsrf").is_some();
    if !http_only && !is_token {
        extra.extend(b"; HttpOnly");
    }
    if !same_site {
        extra.extend(b"; SameSite=Lax");
    }
    if extra.is_empty() {
        return None;
    }
    HeaderValue::from_bytes(&[text, &extra].concat()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hardened(config: &HeadersConfig, fields: &[(&'static str, &str)], over_tls: bool) -> Vec<String> {
        let mut response = ResponseHeader::build(200, None).unwrap();
        for (name, value) in fields {
            response.append_header(*name, *value).unwrap();
        }
        Hardening::new(config).unwrap().apply(&mut response, over_tls).unwrap();
        let line = |(name, value): (&HeaderName, &HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
        let mut lines: Vec<String> = response.headers.iter().map(line).collect();
        lines.sort();
        lines
    }

    fn off() -> HeadersConfig {
        HeadersConfig {
            hide_technology: false,
            hsts_seconds: 0,
            content_security_policy: String::new(),
            nosniff: false,
            frame_options: String::new(),
            referrer_policy: String::new(),
            secure_cookies: false,
        }
    }

    #[test]
    fn technology_is_hidden_and_only_that() {
        let config = HeadersConfig { hide_technology: true, ..off() };
        let fields = [
            ("Server", "Apache/2.4"),
            ("X-Powered-By", "PHP/8.1"),
            ("X-AspNet-Version", "4.0"),
            ("X-AspNetMvc-Version", "5"),
            ("X-Generator", "Drupal"),
            ("Via", "1.1 varnish"),
            ("X-Custom", "kept"),
            ("Content-Type", "text/html"),
        ];
        assert_eq!(hardened(&config, &fields, false), ["content-type: text/html", "x-custom: kept"]);
        assert_eq!(hardened(&off(), &[("Server", "x")], true), ["server: x"]);
    }

    #[test]
    fn defaults_are_set_where_absent_and_hsts_only_over_tls() {
        let config = HeadersConfig { secure_cookies: false, ..HeadersConfig::default() };
        let plain = hardened(&config, &[], false);
        assert!(!plain.iter().any(|line| line.starts_with("strict-transport")), "{plain:?}");
        assert_eq!(plain.len(), 4, "{plain:?}");
        let tls = hardened(&config, &[], true);
        assert!(tls.contains(&"strict-transport-security: max-age=31536000".to_owned()), "{tls:?}");
        let kept =
            hardened(&config, &[("Content-Security-Policy", "default-src 'none'"), ("X-Frame-Options", "DENY")], false);
        assert!(kept.contains(&"content-security-policy: default-src 'none'".to_owned()), "{kept:?}");
        assert!(kept.contains(&"x-frame-options: DENY".to_owned()), "{kept:?}");
    }

    #[test]
    fn cookies_get_what_they_lack_and_keep_what_they_have() {
        let config = HeadersConfig { secure_cookies: true, ..off() };
        let cookies = |values: &[&str], tls| {
            let fields: Vec<_> = values.iter().map(|value| ("Set-Cookie", *value)).collect();
            hardened(&config, &fields, tls)
        };
        assert_eq!(cookies(&["a=1; Path=/"], true), ["set-cookie: a=1; Path=/; Secure; HttpOnly; SameSite=Lax"]);
        assert_eq!(cookies(&["a=1"], false), ["set-cookie: a=1; HttpOnly; SameSite=Lax"]);
        assert_eq!(
            cookies(&["a=1; secure; httponly; samesite=None", "b=secure"], true),
            [
                "set-cookie: a=1; secure; httponly; samesite=None",
                "set-cookie: b=secure; Secure; HttpOnly; SameSite=Lax"
            ]
        );
        assert_eq!(cookies(&["XSRF-TOKEN=1"], true), ["set-cookie: XSRF-TOKEN=1; Secure; SameSite=Lax"]);
    }

    #[test]
    fn a_value_that_cannot_stand_in_a_header_names_its_key() {
        let config = HeadersConfig { frame_options: "a\nb".into(), ..off() };
        assert_eq!(Hardening::new(&config).unwrap_err(), "frame_options");
    }
}
