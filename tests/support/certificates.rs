//! A certificate authority for the tests, and TLS clients that trust it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;

/// A certificate and its key, as PEM files.
#[derive(Clone, Debug)]
pub struct Files {
    /// The certificate.
    pub chain: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Files {
    /// Keys of a virtual server with this certificate: implicit TLS at a second address, and STLS.
    pub fn virtual_server(&self) -> String {
        format!(
            "listen-tls = [\"127.0.0.1:0\"]\n[virtual-server.tls]\ncertificate = {:?}\nkey = {:?}\n",
            self.chain, self.key
        )
    }
}

/// A certificate authority, with the folder of its certificates.
pub struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

/// Whether a certificate has expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// Valid today.
    Valid,
    /// Expired years ago.
    Expired,
}

impl Authority {
    /// A new authority.
    pub fn new() -> Self {
        let folder = TempDir::with_prefix("certificates-").expect("a temporary folder");
        // Clients run as other users.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("permissions");
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Tests of Reprieve");
        let certificate = params.self_signed(&key).expect("a certificate");
        write(&folder.path().join("ca.pem"), &certificate.pem());
        Self { folder, issuer: Issuer::new(params, key) }
    }

    /// Path of its own certificate.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Signs a certificate for a server with these names or addresses.
    pub fn server(&self, file: &str, names: &[&str], age: Age) -> Files {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names.clone()).expect("names");
        params.distinguished_name.push(DnType::CommonName, names[0].as_str());
        params.extended_key_usages.push(rcgen::ExtendedKeyUsagePurpose::ServerAuth);
        if age == Age::Expired {
            params.not_before = rcgen::date_time_ymd(2001, 1, 1);
            params.not_after = rcgen::date_time_ymd(2002, 1, 1);
        } else {
            params.not_before = rcgen::date_time_ymd(2024, 1, 1);
            params.not_after = rcgen::date_time_ymd(2040, 1, 1);
        }
        self.sign(file, &params)
    }

    /// Signs a client certificate for a user.
    pub fn client(&self, user: &str) -> Files {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, user);
        params.subject_alt_names =
            vec![SanType::Rfc822Name(format!("{user}@example.org").try_into().expect("an address"))];
        params.extended_key_usages.push(rcgen::ExtendedKeyUsagePurpose::ClientAuth);
        self.sign(user, &params)
    }

    fn sign(&self, file: &str, params: &CertificateParams) -> Files {
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let files = Files {
            chain: self.folder.path().join(format!("{file}.pem")),
            key: self.folder.path().join(format!("{file}.key")),
        };
        write(&files.chain, &certificate.pem());
        let aside = files.key.with_extension("new-key");
        super::write_secret(&aside, &key.serialize_pem());
        fs::rename(&aside, &files.key).expect("a file");
        files
    }

    /// A TLS client that trusts this authority and presents this certificate, if any.
    pub fn trusted(&self, certificate: Option<&Files>) -> Arc<ClientConfig> {
        self.trusted_with(certificate, rustls::DEFAULT_VERSIONS)
    }

    /// The same, limited to these versions of TLS.
    pub fn trusted_with(
        &self,
        certificate: Option<&Files>,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> Arc<ClientConfig> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.file()).expect("a certificate")).expect("a root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots);
        Arc::new(match certificate {
            None => builder.with_no_client_auth(),
            Some(files) => {
                let chain = CertificateDer::pem_file_iter(&files.chain)
                    .expect("a chain")
                    .collect::<Result<_, _>>()
                    .expect("certificates");
                let key = PrivateKeyDer::from_pem_file(&files.key).expect("a key");
                builder.with_client_auth_cert(chain, key).expect("a client's certificate")
            }
        })
    }
}

/// Writes a file that other users can read. Replaces the file in one step, as certificate clients do.
pub fn write(path: &Path, text: &str) {
    let aside = path.with_extension("new");
    fs::write(&aside, text).expect("a file");
    fs::set_permissions(&aside, fs::Permissions::from_mode(0o644)).expect("permissions");
    fs::rename(&aside, path).expect("a file");
}
