#include "etcd/credentials.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <string>

#include "base/c_handle.h"
#include "base/secret_bytes.h"
#include "base/status.h"
#include "base/unique_fd.h"

namespace cryptvol::etcd {
namespace {

// Where Debian's ca-certificates keeps the system's CAs; gRPC's own default is a file of its own.
constexpr char kSystemCaFile[] = "/etc/ssl/certs/ca-certificates.crt";

using Bio = Handle<BIO, BIO_free_all>;
using Certificate = Handle<X509, X509_free>;
using PrivateKey = Handle<EVP_PKEY, EVP_PKEY_free>;

Bio OpenMemory(const std::string& text) {
  return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

Certificate ParseCertificate(const std::string& pem) {
  Certificate certificate(PEM_read_bio_X509(OpenMemory(pem).get(), nullptr, nullptr, nullptr));
  ERR_clear_error();
  return certificate;
}

// Without a callback OpenSSL would ask for a passphrase on the terminal.
int NoPassphrase(char*, int, int, void*) { return -1; }

PrivateKey ParsePrivateKey(const std::string& pem) {
  PrivateKey key(PEM_read_bio_PrivateKey(OpenMemory(pem).get(), nullptr, NoPassphrase, nullptr));
  ERR_clear_error();
  return key;
}

absl::StatusOr<std::string> ReadCertificates(const std::string& path, const char* what) {
  auto pem = ReadSmallFile(path);
  if (!pem.ok()) return Annotate(pem.status(), fmt::format("read {} for etcd", what));
  if (ParseCertificate(*pem) == nullptr) {
    return InvalidArgument("read {} for etcd: {} has no certificate in PEM form", what, path);
  }
  return pem;
}

absl::Status CheckPair(const ClientOptions& options, const std::string& certificate,
                       const std::string& key) {
  const PrivateKey parsed = ParsePrivateKey(key);
  if (parsed == nullptr) {
    return InvalidArgument(
        "read the client key for etcd: {} has no private key in PEM form, or an encrypted one, "
        "which etcd's clients do not take",
        options.key_file);
  }
  if (X509_check_private_key(ParseCertificate(certificate).get(), parsed.get()) != 1) {
    ERR_clear_error();
    return InvalidArgument("read the client key for etcd: {} is not the key of the certificate {}",
                           options.key_file, options.certificate_file);
  }
  return absl::OkStatus();
}

absl::Status LoadPair(const ClientOptions& options, grpc::SslCredentialsOptions& out) {
  if (options.certificate_file.empty() != options.key_file.empty()) {
    return InvalidArgument(
        "a client certificate for etcd needs its key, and the reverse: {} is missing",
        options.key_file.empty() ? "the key" : "the certificate");
  }
  if (options.certificate_file.empty()) return absl::OkStatus();
  CV_ASSIGN_OR_RETURN(out.pem_cert_chain,
                      ReadCertificates(options.certificate_file, "the client certificate"));
  auto key = ReadSmallFile(options.key_file);
  if (!key.ok()) return Annotate(key.status(), "read the client key for etcd");
  out.pem_private_key = *std::move(key);
  return CheckPair(options, out.pem_cert_chain, out.pem_private_key);
}

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> LoadTlsCredentials(
    const ClientOptions& options) {
  grpc::SslCredentialsOptions files;
  CV_ASSIGN_OR_RETURN(
      files.pem_root_certs,
      ReadCertificates(options.ca_file.empty() ? kSystemCaFile : options.ca_file, "the CA"));
  const absl::Status loaded = LoadPair(options, files);
  std::shared_ptr<grpc::ChannelCredentials> credentials;
  if (loaded.ok()) credentials = grpc::SslCredentials(files);
  WipeString(files.pem_private_key);
  CV_RETURN_IF_ERROR(loaded);
  return credentials;
}

}  // namespace cryptvol::etcd
