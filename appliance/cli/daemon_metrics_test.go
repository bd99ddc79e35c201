package cli

import (
	"context"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"ashlar/appliance/api"
	"ashlar/node/freeport"
	"ashlar/target/targettest/initiator"
)

// fetch is what a GET answers.
func fetch(t *testing.T, c *http.Client, url string) (status int, text string) {
	t.Helper()
	r, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	all, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(all)
}

func TestMetricsTellOfVolumesAndDisks(t *testing.T) {
	t.Parallel()
	free, err := freeport.Take([]string{"127.0.0.1"}, 1)
	if err != nil {
		t.Fatal(err)
	}
	at := net.JoinHostPort("127.0.0.1", strconv.Itoa(int(free[0])))
	d := newDaemon(t, 1, "--metrics", at)
	const iqn = "iqn.2026-11.com.example:metrics"
	if _, text := fetch(t, http.DefaultClient, "http://"+at+"/metrics"); !strings.Contains(text, "ashlar_node_ready 0\n") {
		t.Errorf("a node that is in no cluster says\n%s", text)
	}
	d.must("cluster", "create", "prod", "--segment-size", "4M")
	d.must("disk", "add", d.path("disk"), "--size", "64M")
	d.must("volume", "create", "db", "--size", "8M", "--copies", "1")
	d.must("host", "add", "web1", iqn)
	d.must("export", "add", "db", "web1")
	v := document[api.VolumeDetail](d, "volume", "show", "db")
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	s, err := initiator.Dial(ctx, document[api.Status](d, "status").Portals[0], v.IQN, initiator.Options{Name: iqn, ISID: [6]byte{0x00, 0x02, 0x3d, 0, 9, 1}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.Read(ctx, 0, 0, make([]byte, 512), 512) // takes the unit attention of a new session
	for lba := range uint64(5) {
		if err := s.Write(ctx, 0, 8*lba, make([]byte, 4096), 512); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Read(ctx, 0, 0, make([]byte, 4096), 512); err != nil {
		t.Fatal(err)
	}
	_, text := fetch(t, http.DefaultClient, "http://"+at+"/metrics")
	for _, want := range []string{
		"ashlar_node_ready 1\n", "ashlar_node_is_leader 1\n", `ashlar_node_info{cluster="prod",node="node1",version="test"} 1`,
		`ashlar_volume_size_bytes{volume="db"} 8.388608e+06`, `ashlar_volume_copies{volume="db"} 2`, `ashlar_volume_copies_in_sync{volume="db"} 2`, `ashlar_volume_head{volume="db"} 1`,
		`ashlar_volume_operation_seconds_count{class="write",volume="db"} 5`, `ashlar_volume_transferred_bytes_total{class="write",volume="db"} 20480`,
		`ashlar_volume_failed_operations_total{class="write",volume="db"} 0`, `ashlar_volume_operation_seconds_bucket{class="write",volume="db",le="+Inf"} 5`,
		`ashlar_disk_failed{disk="` + d.path("disk") + `"} 0`, `ashlar_disk_seconds{disk="` + d.path("disk") + `",operation="write",quantile="0.99"}`,
		"ashlar_disk_capacity_bytes{", "go_goroutines", "process_resident_memory_bytes",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %s in\n%s", want, text)
		}
	}
	if strings.Contains(text, `ashlar_volume_transferred_bytes_total{class="read",volume="db"} 0`) {
		t.Error("no bytes were read")
	}
	// Who has proven nothing may give no orders.
	if status, _ := fetch(t, http.DefaultClient, "http://"+at+"/v1/cluster/secret"); status != http.StatusNotFound {
		t.Errorf("the API answers %d where only metrics are", status)
	}
	// Who may give orders may read them, too.
	socket := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", d.path("api.sock"))
	}}}
	if _, text := fetch(t, socket, "http://node/metrics"); !strings.Contains(text, "ashlar_node_ready 1\n") {
		t.Errorf("the API's socket says\n%s", text)
	}
	if r := command("", "serve", "--dir", d.dir, "--address", "127.0.0.1", "--metrics", "here"); r.code != misused || !strings.Contains(r.stderr, "is not IP:PORT") {
		t.Errorf("%+v", r)
	}
}
