//! Where the server is, found anew for each connection: at an address, where the sentinels say, or the node of a cluster that has our slot.
//!
//! Whatever the answer, the checkpoint that is found there is the truth about its data. So it does no harm if an answer is out of date: a replica takes no
//! writes, a node that has not the slot takes none of its keys, and what a master wrote that nobody follows any more is written again.

use std::ops::RangeInclusive;

use redis::{ConnectionInfo, IntoConnectionInfo as _};
use secrecy::{ExposeSecret as _, SecretString};

use super::connect::Address;
use super::error;
use super::reply::Reply;
use super::slot;
use crate::sink::SinkError;

/// See the module.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// At the address.
    Server,
    /// Where these say that the master of this name is.
    Sentinels(Several, String),
    /// One of the nodes of a cluster that these belong to.
    Cluster(Several),
}

/// A url that names several hosts.
#[derive(Clone, Debug)]
pub(super) struct Several {
    /// `redis` or `rediss`.
    scheme: &'static str,
    /// User and password, with the `@` behind them; or nothing.
    user: SecretString,
    hosts: Vec<String>,
    /// The database, with the `/` before it; or nothing.
    database: String,
}

const SENTINEL: [(&str, &str); 2] = [("redis-sentinel://", "redis"), ("rediss-sentinel://", "rediss")];
const CLUSTER: [(&str, &str); 2] = [("redis-cluster://", "redis"), ("rediss-cluster://", "rediss")];

impl Place {
    /// Reads a url; `None` if it is none.
    pub(super) fn parse(url: &str) -> Option<(Self, ConnectionInfo)> {
        let with = |schemes: [(&'static str, &'static str); 2]| {
            schemes.into_iter().find_map(|(prefix, scheme)| Some((scheme, url.strip_prefix(prefix)?)))
        };
        if let Some((scheme, rest)) = with(SENTINEL) {
            let (rest, master) = rest.rsplit_once('#')?;
            let several = Several::parse(scheme, rest)?;
            let info = several.info(several.hosts.first()?)?;
            return Some((Place::Sentinels(several, master.to_owned()), info)).filter(|_| !master.is_empty());
        }
        if let Some((scheme, rest)) = with(CLUSTER) {
            let several = Several::parse(scheme, rest).filter(|several| several.database.is_empty())?;
            let info = several.info(several.hosts.first()?)?;
            return Some((Place::Cluster(several), info));
        }
        Some((Place::Server, url.into_connection_info().ok()?))
    }

    /// Host and port, or hosts and ports, or a path.
    pub(super) fn shown(&self, info: &ConnectionInfo) -> String {
        match self {
            Place::Server => info.addr().to_string(),
            Place::Sentinels(several, master) => format!("{master} of the sentinels {}", several.hosts.join(", ")),
            Place::Cluster(several) => format!("the cluster of {}", several.hosts.join(", ")),
        }
    }
}

impl Several {
    fn parse(scheme: &'static str, rest: &str) -> Option<Self> {
        let (authority, database) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let (user, hosts) = authority.rfind('@').map_or(("", authority), |at| authority.split_at(at.saturating_add(1)));
        let hosts: Vec<String> = hosts.split(',').map(str::to_owned).collect();
        let is_whole = hosts.iter().all(|host| !host.is_empty());
        let database = database.trim_end_matches('/').to_owned();
        is_whole.then(|| Several { scheme, user: SecretString::from(user), hosts, database })
    }

    /// How to reach one host as the user.
    fn info(&self, host: &str) -> Option<ConnectionInfo> {
        let Several { scheme, user, database, .. } = self;
        format!("{scheme}://{}{host}{database}", user.expose_secret()).into_connection_info().ok()
    }

    /// The same as nobody.
    fn bare(&self, host: &str) -> Option<ConnectionInfo> {
        format!("{}://{host}", self.scheme).into_connection_info().ok()
    }
}

/// What those know who should.
enum Answer {
    /// Host and port of a master.
    Master(String),
    Slots(Vec<Slots>),
}

/// Some slots of a cluster, and the host and port of the master that has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slots {
    pub(super) slots: RangeInclusive<u16>,
    pub(super) host: String,
}

impl Address {
    /// Where the server is now.
    ///
    /// # Errors
    /// Nobody who should know can be asked, or knows.
    pub(super) async fn find(&self) -> Result<ConnectionInfo, SinkError> {
        let several = match self.place() {
            Place::Server => return Ok(self.info().clone()),
            Place::Sentinels(several, _) | Place::Cluster(several) => several,
        };
        let host = match self.ask_any(several).await? {
            Answer::Master(host) => host,
            Answer::Slots(found) => {
                let slot = slot::of(self.landmark());
                let of = found.into_iter().find(|found| found.slots.contains(&slot));
                of.ok_or_else(|| self.homeless(slot))?.host
            }
        };
        self.at(several, &host)
    }

    /// The masters of a cluster, and how to reach each.
    ///
    /// # Errors
    /// As [`Address::find`]; or it is none.
    pub(super) async fn masters(&self) -> Result<Vec<(Slots, ConnectionInfo)>, SinkError> {
        let found = match self.place() {
            Place::Cluster(several) => Some((several, self.ask_any(several).await?)),
            Place::Server | Place::Sentinels(..) => None,
        };
        let Some((several, Answer::Slots(found))) = found else { return Err(error::strange(self.shown(), "masters")) };
        found.into_iter().map(|found| self.at(several, &found.host).map(|info| (found, info))).collect()
    }

    fn at(&self, several: &Several, host: &str) -> Result<ConnectionInfo, SinkError> {
        several.info(host).ok_or_else(|| error::strange(self.shown(), host))
    }

    /// No node has this slot.
    pub(super) fn homeless(&self, slot: u16) -> SinkError {
        SinkError::Unavailable { target: self.shown().to_owned(), detail: format!("no node has slot {slot}") }
    }

    /// Asks one after the other until one answers.
    async fn ask_any(&self, several: &Several) -> Result<Answer, SinkError> {
        let mut why = Vec::new();
        for host in &several.hosts {
            let found = match self.place() {
                Place::Sentinels(_, master) => self.ask_sentinel(several, host, master).await.map(Answer::Master),
                Place::Cluster(_) | Place::Server => self.ask_node(several, host).await.map(Answer::Slots),
            };
            match found {
                Ok(answer) => return Ok(answer),
                // Who lets nobody in needs no second try at the next.
                Err(error @ (SinkError::Auth { .. } | SinkError::Denied { .. } | SinkError::Unusable { .. })) => {
                    return Err(error);
                }
                Err(error) => why.push(format!("{host}: {error}")),
            }
        }
        Err(SinkError::Unavailable { target: self.shown().to_owned(), detail: why.join("; ") })
    }

    async fn ask_sentinel(&self, several: &Several, host: &str, master: &str) -> Result<String, SinkError> {
        let bare = several.bare(host).ok_or_else(|| error::strange(self.shown(), host))?;
        let mut connection = self.connect_to(bare).await?;
        if let Some(password) = self.sentinel_password() {
            let mut auth = redis::cmd("AUTH");
            auth.arg(password.expose_secret());
            if let Reply::Refused(refusal) = connection.ask_one(auth).await? {
                return Err(error::not_let_in(&format!("the sentinel {host}"), &refusal));
            }
        }
        let mut command = redis::cmd("SENTINEL");
        command.arg("get-master-addr-by-name").arg(master);
        let reply = connection.ask_one(command).await?.accepted(&format!("the sentinel {host}"), "SENTINEL")?;
        if reply == Reply::Nil {
            let detail = format!("it knows no master `{master}`");
            return Err(SinkError::Unavailable { target: format!("the sentinel {host}"), detail });
        }
        match reply.strings().as_deref() {
            Some([host, port]) => Ok(at(&String::from_utf8_lossy(host), &String::from_utf8_lossy(port))),
            _ => Err(error::strange(host, "SENTINEL")),
        }
    }

    /// Which master has which slots, as this node knows it.
    async fn ask_node(&self, several: &Several, host: &str) -> Result<Vec<Slots>, SinkError> {
        let mut connection = self.connect_to(self.at(several, host)?).await?;
        let mut command = redis::cmd("CLUSTER");
        command.arg("SLOTS");
        let Reply::Array(ranges) = connection.ask_one(command).await?.accepted(host, "CLUSTER SLOTS")? else {
            return Err(error::strange(host, "CLUSTER SLOTS"));
        };
        let read = ranges.into_iter().map(|range| read(range, host));
        read.collect::<Option<_>>().ok_or_else(|| error::strange(host, "CLUSTER SLOTS"))
    }
}

/// One entry of what `asked` answers.
fn read(range: Reply, asked: &str) -> Option<Slots> {
    let Reply::Array(range) = range else { return None };
    let [Reply::Number(first), Reply::Number(last), Reply::Array(node), ..] = range.as_slice() else { return None };
    let [name, Reply::Number(port), ..] = node.as_slice() else { return None };
    let name = match name {
        Reply::Bytes(name) if !name.is_empty() => String::from_utf8_lossy(name).into_owned(),
        // It does not know its own name: it is the one that was asked.
        _ => asked.rsplit_once(':').map_or(asked, |(name, _)| name).to_owned(),
    };
    let slots = u16::try_from(*first).ok()?..=u16::try_from(*last).ok()?;
    Some(Slots { slots, host: at(&name, &port.to_string()) })
}

fn at(host: &str, port: &str) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_several_hosts_are_read_and_shown_without_secrets() {
        let (place, info) = Place::parse("rediss-sentinel://wb:hun%40ter@s1:26379,s2:26380/3#mymaster").expect("a url");
        assert_eq!(place.shown(&info), "mymaster of the sentinels s1:26379, s2:26380");
        let Place::Sentinels(several, _) = place else { panic!("sentinels") };
        let info = several.info("10.0.0.1:7000").expect("an address");
        assert_eq!(info.redis_settings().password(), Some("hun@ter"));
        assert_eq!((info.redis_settings().db(), info.addr().to_string()), (3, "10.0.0.1:7000".to_owned()));
        assert_eq!(several.bare("s1:26379").expect("an address").redis_settings().password(), None);
        let (place, info) = Place::parse("redis-cluster://wb:hunter2@n1:7000,n2:7001").expect("a url");
        assert_eq!(place.shown(&info), "the cluster of n1:7000, n2:7001");
        for url in [
            "redis-sentinel://s1:26379/0",
            "redis-sentinel://s1:26379/0#",
            "redis-sentinel://s1:26379,/0#m",
            "redis-cluster://n1:7000/2",
            "redis-cluster://",
        ] {
            assert!(Place::parse(url).is_none(), "{url}");
        }
        assert_eq!(at("::1", "7000"), "[::1]:7000");
    }
}
