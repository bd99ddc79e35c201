package cli

import (
	"os"
	"strings"
	"testing"

	"ashlar/appliance/api"
)

const hostNQN = "nqn.2014-08.org.nvmexpress:uuid:0cd8ea3f-8b26-4b5c-8c4e-4f8f5e1b6a01"

func TestAnNVMeSecretIsTakenFromAFileAndNeverShown(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, 1)
	d.must("cluster", "create", "prod", "--segment-size", "4M")
	d.must("disk", "add", d.path("a"), "--size", "64M")
	d.must("volume", "create", "db", "--size", "8M", "--copies", "1")
	d.refuses("host add web1", "--nqn NQN")
	d.refuses("host add web1 --nqn nonsense", "/etc/nvme/hostnqn")
	d.must("host", "add", "web1", hostIQN)
	d.must("host", "add", "web2", "--nqn", hostNQN+"2")
	d.refuses("host nqn web1 "+hostNQN+"2", `host "web2" with `+hostNQN+"2 is there already")
	d.refuses("host nqn web3 "+hostNQN, `did you mean "web`)
	file := func(name, text string) string {
		if err := os.WriteFile(d.path(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return d.path(name)
	}
	const secret, other = "DHHC-1:00:ia6zGodOr4SEG0Zzaw398rpY0wqipUWj4jWjUh4HWUz6aQ2n:", "DHHC-1:01:AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAl7OaH:"
	good := file("good", secret+"\n")
	d.refuses("host dhchap web1 --secret-file "+good, "has no NQN")
	d.must("host", "nqn", "web1", hostNQN)
	d.refuses("host dhchap web1", "--secret-file FILE or --off")
	d.refuses("host dhchap web1 --off --secret-file "+good, "--secret-file FILE or --off")
	d.refuses("host dhchap web1 --secret "+secret, `no flag "--secret"`)
	d.refuses("host dhchap web1 --secret-file "+file("torn", secret[:30]), "nvme gen-dhchap-key")
	d.refuses("host dhchap web1 --secret-file "+file("wrong", strings.Replace(secret, "ia6z", "ia7z", 1)), "checksum")
	d.refuses("host dhchap web1 --secret-file "+good+" --controller-secret-file "+good, "must differ")
	d.refuses("host dhchap web1 --secret-file - --controller-secret-file -", "only one")
	if h := document[[]api.Host](d, "host", "list"); h[0].DHCHAP != "none" || h[0].NQN != hostNQN || h[1].IQN != "" || h[1].NQN != hostNQN+"2" {
		t.Errorf("after what was refused: %+v", h)
	}

	shown := d.must("host", "dhchap", "web1", "--secret-file", good)
	if h := document[[]api.Host](d, "host", "list"); h[0].DHCHAP != "one-way" {
		t.Errorf("hosts: %+v", h)
	}
	r := command(secret, "host", "dhchap", "web1", "--secret-file", "-", "--controller-secret-file", file("back", other), "--dir", d.dir)
	if shown += r.stdout + r.stderr; r.code != 0 {
		t.Fatal(r.stderr)
	}
	if h := document[[]api.Host](d, "host", "list"); h[0].DHCHAP != "mutual" {
		t.Errorf("hosts: %+v", h)
	}
	d.must("export", "add", "db", "web1")
	for _, order := range []string{"host list", "host list -o json", "cluster status -o json", "export list", "export list -o json"} {
		shown += d.must(strings.Fields(order)...)
	}
	if strings.Contains(shown, "DHHC") || strings.Contains(shown, secret[12:24]) {
		t.Errorf("a secret is shown: %s", shown)
	}
	if v := document[api.VolumeDetail](d, "volume", "show", "db"); v.NQN != "nqn.2026-11.io.ashlar:prod.db" || v.NSID != uint32(v.ID) || v.Exports[0].NQN != v.NQN {
		t.Errorf("the volume: %+v", v.Volume)
	}
	if text := d.must("volume", "show", "db"); !strings.Contains(text, "nvme connect-all") {
		t.Errorf("the volume: %s", text)
	}
	d.must("host", "dhchap", "web1", "--off")
	if h := document[[]api.Host](d, "host", "list"); h[0].DHCHAP != "none" {
		t.Errorf("hosts: %+v", h)
	}
}
