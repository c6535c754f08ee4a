package fleet

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// authority is a CA that signs for one name or address.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, file: filepath.Join(t.TempDir(), "ca.pem")}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA"}, IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	a.cert, a.key = a.sign(template, nil, a.file)
	return a
}

// sign makes a key and its certificate, signed by the authority or by itself.
func (a *authority) sign(template *x509.Certificate, by *authority, file string) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	parent, signer := template, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	a.write(file, "CERTIFICATE", der)
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

func (a *authority) write(file, kind string, der []byte) {
	a.t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
}

// server is the files of a certificate and its key, for an address.
func (a *authority) server(address string) (cert, key string) {
	a.t.Helper()
	dir := a.t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	template := &x509.Certificate{SerialNumber: big.NewInt(2), IPAddresses: []net.IP{net.ParseIP(address)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	_, private := a.sign(template, a, cert)
	der, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		a.t.Fatal(err)
	}
	a.write(key, "EC PRIVATE KEY", der)
	return cert, key
}

func TestTLS(t *testing.T) {
	ca, wrong := newAuthority(t), newAuthority(t)
	address, other := loopback(0), loopback(1)
	cert, key := ca.server(address)
	port := freePort(t, address)
	s := startRedis(t, "tls-port "+port, "bind "+address+" "+other, "tls-cert-file "+cert, "tls-key-file "+key, "tls-ca-cert-file "+ca.file,
		"tls-auth-clients no", "requirepass "+password)
	s.do("AUTH", password)
	ids := s.beats(2, everywhere)
	with := func(url, file string) func(*Settings) {
		return func(to *Settings) { to.URL, to.Variable, to.TLS.CA = url, "REDIS_URL", file }
	}
	url := "rediss://:" + password + "@" + address + ":" + port
	s.claims(s.fleet(with(url, ca.file)), request(ids[0]), "")
	where := "Redis at " + address + ":" + port
	unknown := where + ": cannot verify its TLS certificate: x509: certificate signed by unknown authority"
	nowhere(t).refuses(unknown, with(url, wrong.file))
	nowhere(t).refuses(unknown, with(url, "")) // those of the system
	nowhere(t).refuses(": cannot verify its TLS certificate: x509: certificate is valid for "+address+", not "+other,
		with("rediss://:"+password+"@"+other+":"+port, ca.file))
	nowhere(t).refuses(where, with("redis://:"+password+"@"+address+":"+port, ca.file)) // without TLS
	nowhere(t).refuses(where+" refuses the user or password of its URL", with("rediss://:wrong@"+address+":"+port, ca.file))
}

// A Redis that asks for a certificate of its clients.
func TestClientCertificates(t *testing.T) {
	ca, wrong := newAuthority(t), newAuthority(t)
	address := loopback(0)
	cert, key := ca.server(address)
	port := freePort(t, address)
	s := startRedis(t, "tls-port "+port, "bind "+address, "tls-cert-file "+cert, "tls-key-file "+key, "tls-ca-cert-file "+ca.file, "tls-auth-clients yes")
	ids := s.beats(2, everywhere)
	with := func(cert, key string) func(*Settings) {
		return func(to *Settings) {
			to.URL, to.Variable, to.TLS = "rediss://"+address+":"+port, "REDIS_URL", TLSFiles{ca.file, cert, key}
		}
	}
	own, ownKey := ca.client()
	s.claims(s.fleet(with(own, ownKey)), request(ids[0]), "")
	nowhere(t).refuses("REDIS_CERT_FILE", with("", ""))
	other, otherKey := wrong.client()
	nowhere(t).refuses("REDIS_CERT_FILE", with(other, otherKey))
	if _, err := Open(Settings{URL: "rediss://h", Variable: "REDIS_URL", TLS: TLSFiles{Cert: own}, Timeout: time.Second}); err == nil || !strings.Contains(err.Error(), "REDIS_KEY_FILE") {
		t.Error(err)
	}
	if _, err := Open(Settings{URL: "rediss://h", Variable: "REDIS_URL", TLS: TLSFiles{Cert: own, Key: otherKey}, Timeout: time.Second}); err == nil || !strings.Contains(err.Error(), own) {
		t.Error(err)
	}
}

// client is the files of a certificate for a client and its key.
func (a *authority) client() (cert, key string) {
	a.t.Helper()
	dir := a.t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	template := &x509.Certificate{SerialNumber: big.NewInt(3), Subject: pkix.Name{CommonName: "client"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	_, private := a.sign(template, a, cert)
	der, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		a.t.Fatal(err)
	}
	a.write(key, "EC PRIVATE KEY", der)
	return cert, key
}

// TLS of the Sentinels is that of Redis, unless it is set.
func TestTLSOfSentinels(t *testing.T) {
	ca := newAuthority(t)
	address := loopback(0)
	cert, key := ca.server(address)
	port, tlsPort := freePort(t, address), freePort(t, address)
	master := startRedis(t, "port "+port, "bind "+address)
	ids := master.beats(2, everywhere)
	sentinel := &server{T: t, dir: master.dir, socket: master.path("sentinel.sock")}
	conf := sentinel.path("sentinel.conf")
	err := os.WriteFile(conf, []byte("port 0\ntls-port "+tlsPort+"\nbind "+address+"\nunixsocket "+sentinel.socket+"\ndir "+master.dir+
		"\ntls-cert-file "+cert+"\ntls-key-file "+key+"\ntls-ca-cert-file "+ca.file+"\ntls-auth-clients no\nset-proc-title no\n"+
		"sentinel monitor shop "+address+" "+port+" 1\nuser watcher on >"+password+" +@all ~*\nuser default off\n"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	sentinel.run("redis-server", conf, "--sentinel")
	with := func(user, secure string) func(*Settings) {
		return func(to *Settings) {
			to.URL, to.Variable, to.TLS, to.Sentinels = "redis://shop", "REDIS_URL", TLSFiles{CA: ca.file}, address+":"+tlsPort
			to.SentinelUser, to.SentinelPassword, to.SentinelTLS = user, password, secure
		}
	}
	f := master.fleet(with("watcher", "1"))
	sentinel.until("the Sentinel answers", func() bool { f.Begin(); _, err := f.All(); return err == nil })
	master.claims(f, request(ids[0]), "")
	nowhere(t).refuses("Sentinel "+address+":"+tlsPort+": WRONGPASS", with("nobody", "1"))
	nowhere(t).refuses(": Sentinel "+address+":"+tlsPort+" closed the connection without an answer (too many clients, protected mode, or a port for TLS alone, which needs REDIS_SENTINEL_TLS=1)", with("watcher", ""))
	if _, err := Open(Settings{URL: "redis://shop", Variable: "REDIS_URL", Sentinels: "a", SentinelTLS: "yes", Timeout: time.Second}); err == nil ||
		err.Error() != `REDIS_SENTINEL_TLS: invalid value "yes" (want 0 or 1)` {
		t.Error(err)
	}
}
