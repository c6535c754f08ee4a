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
	s.wants(s.fleet(with(url, ca.file)), request(ids[0]), "")
	where := "Redis at " + address + ":" + port
	unknown := where + ": cannot verify its TLS certificate: x509: certificate signed by unknown authority"
	nowhere(t).refuses(unknown, with(url, wrong.file))
	nowhere(t).refuses(unknown, with(url, "")) // those of the system
	nowhere(t).refuses(": cannot verify its TLS certificate: x509: certificate is valid for "+address+", not "+other,
		with("rediss://:"+password+"@"+other+":"+port, ca.file))
	nowhere(t).refuses(where, with("redis://:"+password+"@"+address+":"+port, ca.file)) // without TLS
	nowhere(t).refuses(where+" refuses the user or password of its URL", with("rediss://:wrong@"+address+":"+port, ca.file))
}
