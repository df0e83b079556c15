//! Selects the certificate for a client by SNI, and reads fields of certificates.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::config::CertificateUser;

/// Server certificates by the host names that they contain.
#[derive(Debug)]
pub(super) struct Certificates {
    /// Lower-case names; a leading `*.` stands for one label.
    by_name: HashMap<String, Arc<CertifiedKey>>,
    /// For clients that send no server name, or one that no certificate contains.
    default: Arc<CertifiedKey>,
}

impl Certificates {
    /// If two certificates contain the same name, the earlier one is used.
    pub(super) fn new(default: Arc<CertifiedKey>, more: &[Arc<CertifiedKey>]) -> Self {
        let mut by_name = HashMap::new();
        for key in std::iter::once(&default).chain(more) {
            for name in key.cert.first().map(|certificate| dns_names(certificate)).unwrap_or_default() {
                by_name.entry(name).or_insert_with(|| key.clone());
            }
        }
        Self { by_name, default }
    }

    fn find(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        self.by_name.get(&name).or_else(|| {
            let (_, parent) = name.split_once('.')?;
            self.by_name.get(&format!("*.{parent}"))
        })
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(hello.server_name().and_then(|name| self.find(name)).unwrap_or(&self.default).clone())
    }
}

/// Expiry time of a certificate, as a Unix timestamp in seconds.
pub(super) fn expires_s(certificate: &[u8]) -> Option<i64> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some(parsed.validity().not_after.timestamp())
}

/// The DNS names of a certificate, or the common name of an old one that has none.
fn dns_names(certificate: &[u8]) -> Vec<String> {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return Vec::new() };
    let alternatives: Vec<_> = alternatives(&parsed)
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        })
        .collect();
    if !alternatives.is_empty() {
        return alternatives;
    }
    common_name(&parsed).map(|name| name.to_ascii_lowercase()).into_iter().collect()
}

fn alternatives<'a>(certificate: &'a X509Certificate<'a>) -> impl Iterator<Item = &'a GeneralName<'a>> {
    let extension = certificate.subject_alternative_name().ok().flatten();
    extension.into_iter().flat_map(|extension| &extension.value.general_names)
}

fn common_name(certificate: &X509Certificate<'_>) -> Option<String> {
    let name = certificate.subject().iter_common_name().next()?;
    name.as_str().ok().map(str::to_owned)
}

/// The subject of a client certificate, and the user name that it contains, if any.
pub(super) fn identity(certificate: &[u8], from: CertificateUser) -> (String, Option<String>) {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return (String::new(), None) };
    let user = match from {
        CertificateUser::CommonName => common_name(&parsed),
        CertificateUser::Email => alternatives(&parsed).find_map(|name| match name {
            GeneralName::RFC822Name(address) => Some((*address).to_owned()),
            _ => None,
        }),
    };
    (parsed.subject().to_string(), user.filter(|user| !user.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(names: &[&str]) -> Arc<CertifiedKey> {
        let pair = rcgen::KeyPair::generate().unwrap();
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let certificate = rcgen::CertificateParams::new(names).unwrap().self_signed(&pair).unwrap();
        let der = rustls::pki_types::PrivateKeyDer::Pkcs8(pair.serialize_der().into());
        let chain = vec![certificate.der().clone()];
        Arc::new(CertifiedKey::from_der(chain, der, &super::super::provider()).unwrap())
    }

    #[test]
    fn certificates_are_selected_by_name_and_wildcard() {
        let (a, b) = (key(&["mail.a.example", "pop.a.example"]), key(&["*.B.example", "b.example"]));
        let certificates = Certificates::new(a.clone(), std::slice::from_ref(&b));
        let found = |name: &str| certificates.find(name).map(Arc::as_ptr);
        assert_eq!(found("POP.a.example"), Some(Arc::as_ptr(&a)));
        assert_eq!(found("pop.b.example"), Some(Arc::as_ptr(&b)));
        assert_eq!(found("b.example"), Some(Arc::as_ptr(&b)));
        assert_eq!(found("pop.b.example."), Some(Arc::as_ptr(&b)));
        assert_eq!(found("deep.pop.b.example"), None, "a wildcard stands for one label");
        assert_eq!(found("c.example"), None);
    }

    #[test]
    fn subject_and_user_are_read_from_a_client_certificate() {
        let pair = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, "alice");
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "Example");
        params.subject_alt_names = vec![rcgen::SanType::Rfc822Name("alice@mail.example".try_into().unwrap())];
        let certificate = params.self_signed(&pair).unwrap();
        let (subject, user) = identity(certificate.der(), CertificateUser::CommonName);
        assert!(subject.contains("CN=alice") && subject.contains("O=Example"), "{subject}");
        assert_eq!(user.as_deref(), Some("alice"));
        let (_, user) = identity(certificate.der(), CertificateUser::Email);
        assert_eq!(user.as_deref(), Some("alice@mail.example"));
        assert_eq!(identity(b"no certificate", CertificateUser::Email), (String::new(), None));
    }
}
