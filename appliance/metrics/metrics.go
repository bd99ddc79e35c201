// Package metrics tells Prometheus what one node knows and measures: each node of
// its own disks, paths and heads, so that nothing is counted twice where all are asked.
package metrics

import (
	"net/http"
	"strconv"
	"time"

	"ashlar/node"
	"ashlar/node/cluster"
	"ashlar/node/failover"
	"ashlar/node/volume"
	"ashlar/replication/latency"
	"ashlar/replication/wire"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Handler serves the metrics of a node.
func Handler(n *node.Node, version string) http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(collector{n, version}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{})
}

// desc is a metric by name, help and labels.
func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("ashlar_"+name, help, labels, nil)
}

var (
	info     = desc("node_info", "1; its name, cluster and release", "node", "cluster", "version")
	ready    = desc("node_ready", "1: it has its lease and serves hosts")
	isLeader = desc("node_is_leader", "1: it leads the control plane")

	volumeBytes   = desc("volume_size_bytes", "Size of a volume", "volume")
	copiesWanted  = desc("volume_copies", "Copies of segments that a volume should have", "volume")
	copiesInSync  = desc("volume_copies_in_sync", "Copies of segments that hold every acknowledged write", "volume")
	headHere      = desc("volume_head", "1: this node orders the volume's writes", "volume")
	operations    = desc("volume_operation_seconds", "What hosts asked of a volume through this node, by class, from the last byte of a command to its answer", "volume", "class")
	transferred   = desc("volume_transferred_bytes_total", "Bytes that hosts read and wrote through this node", "volume", "class")
	failures      = desc("volume_failed_operations_total", "Operations through this node that did not end well", "volume", "class")
	underWay      = desc("volume_operations_under_way", "Operations at the volume's head, on this node", "volume")
	copySeconds   = desc("volume_copy_seconds", "Way of a head's write to a node's copy and back, in the last minute, by quantile", "volume", "node", "quantile")
	linkSeconds   = desc("peer_seconds", "Small question to another node, with its answer, in the last minute, by quantile", "node", "quantile")
	diskSeconds   = desc("disk_seconds", "Read, or durable write, of a disk of this node, in the last minute, by quantile", "disk", "operation", "quantile")
	diskBytes     = desc("disk_capacity_bytes", "Room on a disk of this node", "disk")
	diskUsed      = desc("disk_used_bytes", "Room that is taken", "disk")
	diskFailed    = desc("disk_failed", "1: a write of this node's disk failed, and it is not used any more", "disk")
	diskSuspended = desc("disk_suspended", "1: a disk of this node answers nothing now", "disk")
	badBlocks     = desc("disk_bad_blocks_total", "Blocks of a disk of this node that had a bad checksum when they were read", "disk")
	journalBytes  = desc("disk_journal_used_bytes", "Journal that was not written back yet", "disk")
)

// collector asks a node each time that it is asked.
type collector struct {
	node    *node.Node
	version string
}

// Describe leaves out which metrics there will be: that depends on volumes and disks.
func (c collector) Describe(chan<- *prometheus.Desc) {}

// Collect tells what there is; a node that is in no cluster has little.
func (c collector) Collect(out chan<- prometheus.Metric) {
	o := output{out}
	o.gauge(ready, number(c.node.Ready()))
	state, err := c.node.State()
	if err != nil {
		o.gauge(info, 1, c.node.Config().Name, "", c.version)
		return
	}
	self, _ := c.node.Self()
	leader, _ := c.node.Leader()
	o.gauge(info, 1, self.Name, state.Name, c.version)
	o.gauge(isLeader, number(leader == self.Node))
	o.volumes(state, self.Node)
	if flows, err := c.node.Traffic(); err == nil {
		o.traffic(state, flows)
	}
	if m, err := c.node.Measured(); err == nil {
		o.measured(state, m)
	}
	if stores, err := c.node.Stores(); err == nil {
		for id, s := range stores {
			path := state.Disks[id].Path
			o.gauge(diskBytes, float64(s.Capacity), path)
			o.gauge(diskUsed, float64(s.Used), path)
			o.gauge(journalBytes, float64(s.JournalUsed), path)
			o.counter(badBlocks, float64(s.ChecksumErrors), path)
		}
	}
	for _, id := range state.DiskIDs() {
		if d := state.Disks[id]; d.Node == self.Node {
			o.gauge(diskFailed, number(d.Failed), d.Path)
		}
	}
}

type output struct{ out chan<- prometheus.Metric }

func (o output) gauge(d *prometheus.Desc, v float64, labels ...string) {
	o.out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func (o output) counter(d *prometheus.Desc, v float64, labels ...string) {
	o.out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
}

func (o output) volumes(state *cluster.State, self wire.NodeID) {
	for _, id := range state.VolumeIDs() {
		v := state.Volumes[id]
		inSync := 0
		for _, g := range v.Segments {
			inSync += len(g.InSync())
		}
		o.gauge(volumeBytes, float64(v.Bytes), v.Name)
		o.gauge(copiesWanted, float64(len(v.Segments)*v.Copies), v.Name)
		o.gauge(copiesInSync, float64(inSync), v.Name)
		o.gauge(headHere, number(v.Head == self), v.Name)
	}
}

func (o output) traffic(state *cluster.State, flows map[wire.VolumeID][]volume.Flow) {
	for id, all := range flows {
		v := state.Volumes[id]
		if v == nil {
			continue // it was removed meanwhile
		}
		for class, f := range all {
			name := volume.Class(class).String()
			within, sum := map[float64]uint64{}, uint64(0)
			for i, bound := range volume.Bounds {
				sum += f.Within[i]
				within[bound.Seconds()] = sum
			}
			o.out <- prometheus.MustNewConstHistogram(operations, f.Operations, f.Took.Seconds(), within, v.Name, name)
			o.counter(transferred, float64(f.Bytes), v.Name, name)
			o.counter(failures, float64(f.Failed), v.Name, name)
		}
	}
}

func (o output) measured(state *cluster.State, m failover.Measured) {
	nodeName := func(id wire.NodeID) string {
		if n := state.Nodes[id]; n != nil {
			return n.Name
		}
		return strconv.Itoa(int(id))
	}
	for _, l := range m.Links {
		o.quantiles(linkSeconds, l.Facts, nodeName(l.Node))
	}
	for _, d := range m.Disks {
		known := state.Disks[d.Disk]
		if known == nil {
			continue
		}
		o.quantiles(diskSeconds, d.Reads, known.Path, "read")
		o.quantiles(diskSeconds, d.Writes, known.Path, "write")
		o.gauge(diskSuspended, number(d.Suspended), known.Path)
	}
	for _, h := range m.Heads {
		v := state.Volumes[h.Volume]
		if v == nil {
			continue
		}
		o.gauge(underWay, float64(h.Operations), v.Name)
		for _, x := range h.Hops {
			o.quantiles(copySeconds, x.Facts, v.Name, nodeName(x.Node))
		}
	}
}

// quantiles are what a minute's histogram gives; nothing, where nothing was measured.
func (o output) quantiles(d *prometheus.Desc, f latency.Facts, labels ...string) {
	if f.Count == 0 {
		return
	}
	for _, q := range []struct {
		name string
		ns   int64
	}{{"0.5", f.P50}, {"0.99", f.P99}, {"1", f.Max}} {
		o.gauge(d, time.Duration(q.ns).Seconds(), append(append([]string{}, labels...), q.name)...)
	}
}

func number(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
