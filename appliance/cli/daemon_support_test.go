package cli

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// unpack is what a bundle has, by name.
func unpack(t *testing.T, path string) map[string]string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	text, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for archive := tar.NewReader(text); ; {
		h, err := archive.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		all[h.Name] = string(content)
	}
}

func TestASupportBundleHasWhatHelpsAndNoSecret(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, 1)
	d.must("cluster", "create", "prod", "--segment-size", "4M")
	d.must("disk", "add", d.path("disk"), "--size", "64M")
	d.must("volume", "create", "db", "--size", "8M", "--copies", "1")
	d.must("host", "add", "web1", "iqn.2026-11.com.example:web1", "--nqn", "nqn.2014-08.org.nvmexpress:uuid:00000000-0000-4000-8000-000000000009")
	const chap, mutual, dhchap = "a-secret-of-web1", "another-of-prod!", "DHHC-1:00:ia6zGodOr4SEG0Zzaw398rpY0wqipUWj4jWjUh4HWUz6aQ2n:"
	for name, text := range map[string]string{"chap": chap, "mutual": mutual, "dhchap": dhchap} {
		if err := os.WriteFile(d.path(name), []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d.must("host", "chap", "web1", "--secret-file", d.path("chap"), "--mutual-secret-file", d.path("mutual"))
	d.must("host", "dhchap", "web1", "--secret-file", d.path("dhchap"))
	join := strings.TrimSpace(d.must("cluster", "secret"))
	token := strings.TrimSpace(d.must("token", "create", "ci", "--role", "admin"))
	hash := sha256.Sum256([]byte(token))

	file := filepath.Join(t.TempDir(), "bundle.tar.gz")
	d.must("support", "bundle", file)
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	all := unpack(t, file)
	for name, want := range map[string]string{"status.json": "node1", "cluster.json": `"prod"`, "disks.json": d.path("disk"), "placement.json": `"db"`,
		"hosts.json": "web1", "metrics.txt": "ashlar_node_ready 1", "kernel.txt": "Linux", "version.txt": "test", "proc-meminfo.txt": "MemTotal"} {
		if !strings.Contains(all["ashlar/"+name], want) {
			t.Errorf("%s has no %q: %s", name, want, all["ashlar/"+name])
		}
	}
	for name, text := range all {
		for _, secret := range append(strings.Split(join, "."), chap, mutual, dhchap, token, base64.StdEncoding.EncodeToString(hash[:]), "PRIVATE KEY") {
			if strings.Contains(text, secret) {
				t.Errorf("%s has the secret %q", name, secret)
			}
		}
	}
	d.refuses("support bundle "+file, "file exists")

	// It is wanted most where a node does not answer.
	d.end(syscall.SIGKILL)
	<-d.ended
	file = filepath.Join(t.TempDir(), "dead.tar.gz")
	if text := d.must("support", "bundle", file); !strings.Contains(text, "left out: status.json") {
		t.Errorf("of a dead node it says %s", text)
	}
	if all := unpack(t, file); !strings.Contains(all["ashlar/missing.txt"], "status.json: no node serves") || all["ashlar/kernel.txt"] == "" {
		t.Errorf("a dead node's bundle has %v", all)
	}
}
