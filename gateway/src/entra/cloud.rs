//! The clouds that Microsoft runs, and where each keeps its endpoints. One table.
//!
//! A tenant lives in exactly one cloud, and only that cloud's host may be asked about it: a host that is not in the table
//! would get the gateway's credential and be believed about people.

/// A cloud with tenants of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cloud {
    /// What it is called.
    pub name: &'static str,
    /// Where people sign in: an origin without a trailing slash.
    pub authority: &'static str,
    /// Who issues version 1.0 tokens, without the tenant.
    pub version_one: &'static str,
}

/// Every cloud.
pub const CLOUDS: [Cloud; 3] = [
    Cloud { name: "public", authority: "https://login.microsoftonline.com", version_one: "https://sts.windows.net" },
    Cloud {
        name: "US government",
        authority: "https://login.microsoftonline.us",
        version_one: "https://sts.windows.net",
    },
    Cloud {
        name: "China (21Vianet)",
        authority: "https://login.partner.microsoftonline.cn",
        version_one: "https://sts.chinacloudapi.cn",
    },
];

/// The tenant of personal accounts, whose members are nobody's employees.
pub const PERSONAL_ACCOUNTS: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";
/// Where members of several directories sign in; personal accounts do not.
const ORGANIZATIONS: &str = "organizations";

/// Where one cloud is asked, and what it calls itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    host: String,
    version_one: String,
}

impl Authority {
    /// The authority at this origin. One that is in no table keeps its version 1.0 issuers under itself.
    #[must_use]
    pub fn new(host: &str) -> Self {
        let known = CLOUDS.iter().find(|cloud| cloud.authority == host);
        let version_one = known.map_or_else(|| format!("{host}/sts"), |cloud| cloud.version_one.to_owned());
        Self { host: host.to_owned(), version_one }
    }

    /// Whether this is one of Microsoft's clouds.
    #[must_use]
    pub fn is_listed(&self) -> bool {
        CLOUDS.iter().any(|cloud| cloud.authority == self.host)
    }

    /// The origin, without a trailing slash.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The issuer of a tenant's version 2.0 tokens.
    #[must_use]
    pub fn issuer(&self, tenant: &str) -> String {
        format!("{}/{tenant}/v2.0", self.host)
    }

    /// The issuer of a tenant's version 1.0 tokens, with the trailing slash that it has.
    #[must_use]
    pub fn version_one_issuer(&self, tenant: &str) -> String {
        format!("{}/{tenant}/", self.version_one)
    }

    /// Where people of this directory sign in; of several, when none is named.
    pub(super) fn authorize(&self, tenant: Option<&str>) -> String {
        format!("{}/{}/oauth2/v2.0/authorize", self.host, tenant.unwrap_or(ORGANIZATIONS))
    }

    /// Where codes and refresh tokens of this directory are traded.
    pub(super) fn token(&self, tenant: Option<&str>) -> String {
        format!("{}/{}/oauth2/v2.0/token", self.host, tenant.unwrap_or(ORGANIZATIONS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: &str = "11111111-2222-4333-8444-555555555555";

    #[test]
    fn each_cloud_has_its_own_hosts_and_issuers() {
        for (host, version_one) in [
            ("https://login.microsoftonline.com", "https://sts.windows.net/"),
            ("https://login.microsoftonline.us", "https://sts.windows.net/"),
            ("https://login.partner.microsoftonline.cn", "https://sts.chinacloudapi.cn/"),
            ("http://127.0.0.1:9400", "http://127.0.0.1:9400/sts/"),
        ] {
            let authority = Authority::new(host);
            assert_eq!(authority.is_listed(), host.starts_with("https"), "{host}");
            assert_eq!(authority.issuer(TENANT), format!("{host}/{TENANT}/v2.0"));
            assert_eq!(authority.version_one_issuer(TENANT), format!("{version_one}{TENANT}/"));
            assert_eq!(authority.token(Some(TENANT)), format!("{host}/{TENANT}/oauth2/v2.0/token"));
            assert_eq!(authority.authorize(None), format!("{host}/organizations/oauth2/v2.0/authorize"));
        }
    }
}
