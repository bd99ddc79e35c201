package cli

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// verb is what a command has to print, in a cluster of two nodes, where the rows above it were carried out.
type verb struct {
	path  string
	do    string   // arguments with which it is carried out; "-": that is tested elsewhere
	says  []string // what it tells people
	again string   // arguments for machines; empty: the same as do
	keys  []string // what its document has, in order
	wrong []wrong
	down  bool // it can do without a node
	alone bool // and without a cluster
	tried bool // more than once: it looks for answers in less than a second, and the machine may be busy
}

// wrong are arguments that are refused, with words of the sentence.
type wrong struct {
	args  string
	words string // parted by |
}

const (
	noNode = "no node serves at|ashlar serve"
	lonely = "belongs to no cluster|ashlar cluster create"
	dhchap = "DHHC-1:00:ia6zGodOr4SEG0Zzaw398rpY0wqipUWj4jWjUh4HWUz6aQ2n:"
)

// verbs are all of them. What changes the cluster leaves what the rows below it need.
var verbs = []verb{
	{path: "version", says: []string{"ashlar test"}, keys: []string{`"version": "test"`}, down: true},
	{path: "completion", do: "bash", says: []string{"_ashlar()"}, keys: []string{`"script"`}, wrong: []wrong{{"", "SHELL is missing"}}, down: true},
	{path: "serve", do: "-", wrong: []wrong{{"--address 127.0.0.1 more", `"more" is one argument too many`}}},
	{path: "setup", do: "-", wrong: []wrong{{"--cluster a --join b", "give one of them"}, {"--disk free", "--cluster NAME or --join"}, {"--address x", "no IP address"}}},
	{path: "host check", do: "-", wrong: []wrong{{"web1", "one argument too many"}}},
	{path: "host settings", says: []string{"multipath"}, keys: []string{`"settings"`}, wrong: []wrong{{"x", "one argument too many"}}, down: true},
	{path: "host connect", do: "-", wrong: []wrong{{"", "VOLUME is missing"}, {"db", "--portal ADDRESS"}}},

	{path: "cluster create", do: "-", wrong: []wrong{{"other", `already in cluster "prod"`}, {"prod", `already in a cluster named "prod"`}}},
	{path: "cluster join", do: "-", wrong: []wrong{{"{peer} --secret-file {secret}", "already in cluster"}, {"{peer}", "--secret-file FILE"}, {"a/b --secret-file {secret}", "no address of a node"}}},
	{path: "cluster secret", says: []string{"."}, keys: []string{`"secret"`}},
	{path: "cluster adopt", do: "-", wrong: []wrong{{"{dir}/disk", "in cluster"}, {"{dir}/nothing", "cluster"}}},
	{path: "cluster release", do: "-", wrong: []wrong{{"", "has a leader"}, {"--accept-loss", "--confirm NAME"}}},
	{path: "cluster reset", do: "-", wrong: []wrong{{"--confirm other", "cluster"}, {"", "--confirm"}}},
	{path: "disk inspect", do: "-", wrong: []wrong{{"{dir}/nothing", "no such file"}}},

	{path: "volume create", do: "db --size 8M --copies 2", says: []string{`volume "db" created: 8 MiB, copies: 2`, "ashlar export add db HOST"}, again: "logs --size 8M",
		keys: []string{`"name": "logs"`, `"size": 8388608`, `"copies": 2`, `"iqn": "iqn.2026-11.io.ashlar:prod.logs"`}, wrong: []wrong{{"db --size 8M", `"db" is there already`}, {"v", "needs a size"}, {"v --size 8M --copies 3", "3 copies need 3 nodes"},
			{"v --size 8M --write-cache maybe", `is on or off, not "maybe"`}, {"v --size 8M --copies 1 --write-cache on", "2 copies or more"}}},
	{path: "volume list", says: []string{"VOLUME", "db", "8 MiB", "4 of 4"}, keys: []string{`"name": "db"`, `"name": "logs"`}},
	{path: "volume show", do: "db", says: []string{"iqn.2026-11.io.ashlar:prod.db", "SEGMENT", "node1", "node2"}, keys: []string{`"name": "db"`, `"placement"`, `"in_sync": true`}, wrong: []wrong{{"dbb", `did you mean "db"?`}, {"xyzzy", "ashlar volume list"}}},
	{path: "volume resize", do: "db 16M", says: []string{`volume "db" has 16 MiB now`}, again: "db 20M", keys: []string{`"size": 20971520`}, wrong: []wrong{{"db 8M", "cannot be made smaller"}, {"dbb 99M", `did you mean "db"?`}}},
	{path: "volume move-head", do: "db node1", says: []string{`node "node1" is the head of volume "db"`}, again: "db node2", keys: []string{"{}"}, wrong: []wrong{{"db node9", `did you mean "node`}, {"dbb node1", `did you mean "db"?`}}},
	{path: "volume verify", do: "db --wait=false", says: []string{"job 1 compares the copies of volume \"db\"", "ashlar job show 1"}, again: "db", keys: []string{`"equal": true`, `"differences": []`}, wrong: []wrong{{"dbb", `did you mean "db"?`}}},
	{path: "job list", says: []string{"JOB", "verify", "db", "done", "100 %"}, keys: []string{`"id": 1`, `"state": "done"`}},
	{path: "job show", do: "1", says: []string{"verify", "db", "100 %, 5 of 5 segments", "copies equal", "yes"}, keys: []string{`"id": 1`, `"percent": 100`, `"result"`}, wrong: []wrong{{"99", "there is no job 99|ashlar job list"}, {"db", `"db" is no job's number`}}},
	{path: "job wait", do: "1", says: []string{"done", "copies equal", "yes"}, keys: []string{`"state": "done"`, `"equal": true`}, wrong: []wrong{{"99", "there is no job 99|ashlar job list"}, {"", "ID is missing"}}},
	{path: "job cancel", do: "-", wrong: []wrong{{"1", "job 1 has ended: done"}, {"99", "there is no job 99|ashlar job list"}}},
	{path: "scrub status", says: []string{"VOLUME", "db", "light", "deep"}, keys: []string{`"volume": "db"`, `"light"`, `"deep"`}},
	{path: "why", do: "db", says: []string{"db:"}, keys: []string{`"volume": "db"`, `"reasons"`}, wrong: []wrong{{"dbb", `did you mean "db"?`}}},

	{path: "host add", do: "web1 " + hostIQN, says: []string{`host "web1" is known`}, again: "web2 --nqn " + hostNQN, keys: []string{`"name": "web2"`, hostNQN}, wrong: []wrong{{"web1 " + hostIQN, "is there already"}, {"web3", "--nqn NQN"}, {"web3 x", "no initiator name"}}},
	{path: "host nqn", do: "web1 nqn.2014-08.org.nvmexpress:uuid:00000000-0000-4000-8000-00000000000b", says: []string{"with NVMe"}, keys: []string{`"nqn"`}, wrong: []wrong{{"web9 " + hostNQN, "there is no host"}, {"web1 x", "x"}}},
	{path: "host chap", do: "web1 --secret-file {chap}", says: []string{"has to prove who it is"}, keys: []string{"{}"}, wrong: []wrong{{"web1", "--secret-file FILE or --off"}, {"web9 --off", `did you mean "web1"?`}}},
	{path: "host dhchap", do: "web2 --secret-file {dhchap}", says: []string{"has to prove who it is"}, keys: []string{"{}"}, wrong: []wrong{{"web2", "--secret-file FILE or --off"}, {"web9 --off", `did you mean "web1"?`}, {"web2 --secret-file {chap}", "DHHC-1"}}},
	{path: "host list", says: []string{"HOST", "web1", hostIQN, "one-way"}, keys: []string{`"name": "web1"`, `"chap": "one-way"`, `"name": "web2"`}},
	{path: "host sessions", says: []string{"No host is logged in."}, keys: []string{"[]"}},
	{path: "host disconnect", do: "web1 --node node2", says: []string{"was not logged in there"}, again: "web1", keys: []string{`"sessions": 0`, `"silent": []`}, wrong: []wrong{{"wbe1", `did you mean "web1"?`}, {"web1 --node nod2", `did you mean "node2"?`}, {"web1 --volume dbb", `did you mean "db"?`}}},
	{path: "export add", do: "db web1 --lun 5", says: []string{`volume "db" is published to host "web1" as LUN 5`}, again: "logs web2 --read-only", keys: []string{`"volume": "logs"`, `"read_only": true`}, wrong: []wrong{{"db web1", "already published"}, {"dbb web1", `did you mean "db"?`}, {"db wbe1", `did you mean "web1"?`}}},
	{path: "export list", says: []string{"VOLUME", "db", "web1", "5"}, keys: []string{`"volume": "db"`, `"lun": 5`}},
	{path: "export delete", do: "db web1", says: []string{`no longer published to host "web1"`}, again: "logs web2", keys: []string{"{}"}, wrong: []wrong{{"db web1", "is not published to host|ashlar export list"}, {"dbb web1", `did you mean "db"?`}, {"db web9", `did you mean "web1"?`}}},
	{path: "host delete", do: "web1", says: []string{`host "web1" is forgotten`}, again: "web2", keys: []string{"{}"}, wrong: []wrong{{"web1", "there is no host"}}},

	{path: "pool status", says: []string{"provisioned", "node1", "{dir}/disk"}, keys: []string{`"size"`, `"nodes"`, `"warnings": []`}},
	{path: "node list", says: []string{"NODE", "node1", "node2", "up"}, keys: []string{`"name": "node1"`, `"name": "node2"`}},
	{path: "node show", do: "node2", says: []string{"node2", "voter"}, keys: []string{`"name": "node2"`, `"state": "up"`}, wrong: []wrong{{"nod2", `did you mean "node2"?`}}},
	{path: "node set", do: "node1 --domain rack1", says: []string{`in fault domain "rack1"`}, again: "node1 --domain=", keys: []string{"domain"}, wrong: []wrong{{"node1", "--domain LABEL"}, {"nod1 --domain x", `did you mean "node1"?`}}},
	{path: "node drain", do: "node2", says: []string{`node "node2" is drained`}, keys: []string{`"sessions": 0`}, wrong: []wrong{{"nod2", `did you mean "node2"?`}, {"node1", "node1"}}},
	{path: "node undrain", do: "node2", says: []string{"serves hosts again"}, keys: []string{"{}"}, wrong: []wrong{{"nod2", `did you mean "node2"?`}}},
	{path: "node remove", do: "-", wrong: []wrong{{"nod2", `did you mean "node2"?`}, {"node2", "node2"}}},

	{path: "disk list", says: []string{"NODE", "{dir}/disk", "ok"}, keys: []string{`"node": "node1"`, `"state": "ok"`}},
	{path: "disk add", do: "{dir}/more --size 64M", says: []string{"{dir}/more (64 MiB) is in the pool"}, again: "{dir}/most --size 64M", keys: []string{`"path": "{dir}/most"`}, wrong: []wrong{{"{dir}/more", "already in the pool"}, {"{dir}/none", "--size"}}},
	{path: "disk show", do: "{dir}/more", says: []string{"identity", "bad ever"}, keys: []string{`"path": "{dir}/more"`, `"bad_ever": 0`}, wrong: []wrong{{"{dir}/mroe", `did you mean`}}},
	{path: "disk drain", do: "{dir}/more", says: []string{"disk {dir}/more of node"}, again: "node1:{dir}/most", keys: []string{`"path": "{dir}/most"`}, wrong: []wrong{{"node1:{dir}/mots", `did you mean "node1:{dir}/most"?`}}},
	{path: "disk undrain", do: "{dir}/more", says: []string{"takes copies again"}, keys: []string{`"path": "{dir}/more"`}, wrong: []wrong{{"/nowhere", "there is no disk"}}},
	{path: "disk remove", do: "{dir}/more", says: []string{"is not in the pool any more"}, again: "{dir}/most", keys: []string{`"path": "{dir}/most"`}, wrong: []wrong{{"{dir}/more", "there is no disk"}, {"{dir}/disk", "copies"}}},

	{path: "address add", do: "192.0.2.101/24 --home node1", says: []string{"portal 192.0.2.101:", "ashlar address list"}, again: "192.0.2.102/24", keys: []string{`"address": "192.0.2.102"`}, wrong: []wrong{{"192.0.2.103", "with the length of its subnet"}, {"192.0.2.103/24 --home nod1", `did you mean "node1"?`}}},
	{path: "address list", says: []string{"ADDRESS", "192.0.2.101", "node1", "outlives any node: iSCSI 192.0.2.101:", ", 192.0.2.102:", "NVMe/TCP 192.0.2.101:"}, keys: []string{`"address": "192.0.2.101"`, `"state"`}},
	{path: "address remove", do: "192.0.2.101", says: []string{"no portal address any more"}, again: "192.0.2.102", keys: []string{"{}"}, wrong: []wrong{{"x", "no address"}, {"192.0.2.109", "there is no address"}}},

	{path: "cluster ca", says: []string{"BEGIN CERTIFICATE"}, keys: []string{"BEGIN CERTIFICATE"}, wrong: []wrong{{"x", "one argument too many"}}},
	{path: "tenant create", do: "acme --quota 10G --volumes 2", says: []string{`tenant "acme" created`, "--tenant acme"}, again: "zeta", keys: []string{`"name": "zeta"`}, wrong: []wrong{{"acme", "is there already"}, {"x --quota many", "--quota"}}},
	{path: "tenant set", do: "acme --quota 20G", says: []string{`tenant "acme" may have`}, again: "zeta --volumes 3", keys: []string{`"volumes": 3`}, wrong: []wrong{{"acme", "--quota or --volumes"}, {"acne --volumes 1", `no tenant`}}},
	{path: "tenant list", says: []string{"NAME", "acme", "20 GiB", "zeta", "any"}, keys: []string{`"name": "acme"`, `"name": "zeta"`}},
	{path: "token create", do: "ci --role tenant --tenant acme", says: []string{"ashlar_"}, again: "watch --role viewer --expires 1h", keys: []string{`"name": "watch"`, `"secret"`},
		wrong: []wrong{{"ci --role viewer", "is there already"}, {"x", "--role viewer, operator, admin or tenant"}, {"x --role boss", "boss"}, {"x --role tenant", "tenant"}, {"x --role viewer --expires 1ms", "--expires"}}},
	{path: "token list", says: []string{"NAME", "ci", "acme", "never", "watch", "viewer"}, keys: []string{`"name": "ci"`, `"name": "watch"`}},
	{path: "token delete", do: "ci", says: []string{`token "ci" lets nobody in any more`}, again: "watch", keys: []string{"{}"}, wrong: []wrong{{"ci", "no token"}}},
	{path: "tenant delete", do: "acme", says: []string{`tenant "acme" is gone`}, again: "zeta", keys: []string{"{}"}, wrong: []wrong{{"acme", "no tenant"}}},
	{path: "audit", says: []string{"TIME", "create-tenant", "uid "}, keys: []string{`"operation": "create-tenant"`}, wrong: []wrong{{"--since yesterday", "neither a time"}}, alone: true},
	{path: "events", says: []string{"EVENT", `volume "db" was created`}, keys: []string{`"events"`}, wrong: []wrong{{"--limit 0", "1 to 10000"}, {"--since x", "x"}}},

	{path: "cluster set", do: "rebuild-after-node 10m", says: []string{"rebuild-after-node is 10m0s now"}, again: "rebalance off", keys: []string{`"rebalance": "off"`}, wrong: []wrong{{"rebuild-after-nod 10m", `did you mean "rebuild-after-node"?`}, {"rebalance maybe", "on or off"}, {"pool-warning 100", "per cent from 1 to 99"}, {"scrub-deep 1ms", "whole seconds"}}},
	{path: "node upgrade-check", do: "--wait 20s", says: []string{`node "node1" can be upgraded now`}, keys: []string{`"node": "node1"`, `"formats"`, `"ready": true`}, wrong: []wrong{{"node1", "one argument too many"}, {"--formats state-0", "other formats (state-0)"}}},
	{path: "cluster check", says: []string{"All nodes reach each other's addresses"}, keys: []string{"[]"}, wrong: []wrong{{"node1", "one argument too many"}}, tried: true},
	{path: "cluster status", says: []string{"prod", "10m0s after a node went down", "node2", "a node's own address to discovery", "db"}, keys: []string{`"name": "prod"`, `"state"`, `"nodes"`, `"settings"`}},
	{path: "status", do: "--exit-code", says: []string{"node1, ready", "prod, leader node", "data     safe: all copies of all volumes are in sync", "There is nothing to do."}, keys: []string{`"name": "node1"`, `"health"`, `"data": "safe"`, `"why": []`}, wrong: []wrong{{"node1", "one argument too many"}}, alone: true},
	{path: "support bundle", do: "{dir}/a.tar.gz", says: []string{"is in {dir}/a.tar.gz"}, again: "{dir}/b.tar.gz", keys: []string{`"file"`, `"missing"`}, wrong: []wrong{{"{dir}/a.tar.gz", "file exists"}}, down: true, alone: true},
	{path: "volume delete", do: "db", says: []string{`volume "db" is gone`}, again: "logs", keys: []string{"{}"}, wrong: []wrong{{"db", "there is no volume"}}},
}

// TestEveryCommandSaysWhatItDidAndWhyItCouldNot runs all rows against one cluster of two nodes, and a node that has none.
func TestEveryCommandSaysWhatItDidAndWhyItCouldNot(t *testing.T) {
	t.Parallel()
	known := leaves(newApp("test", nil).Commands)
	for path := range known {
		if !slices.ContainsFunc(verbs, func(v verb) bool { return v.path == path }) {
			t.Errorf("ashlar %s has no row here", path)
		}
	}
	first, second, stranger := newDaemon(t, 1), newDaemon(t, 2), newDaemon(t, 3)
	first.must("cluster", "create", "prod", "--segment-size", "4M")
	file := func(name, text string) string {
		if err := os.WriteFile(first.path(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return first.path(name)
	}
	words := strings.NewReplacer("{dir}", first.dir, "{peer}", first.peer, "{secret}", file("join", first.must("cluster", "secret")),
		"{chap}", file("chap", "a-secret-of-web1"), "{dhchap}", file("dhchap", dhchap))
	second.must(strings.Fields(words.Replace("cluster join {peer} --secret-file {secret}"))...)
	for _, d := range []*daemon{first, second} {
		d.must("disk", "add", d.path("disk"), "--size", "64M")
	}
	first.eventually("has its lease", func() bool { return strings.Contains(first.must("status"), "node1, ready") })

	for _, v := range verbs {
		command := known[v.path]
		if command == nil {
			t.Fatalf("there is no command %q", v.path)
		}
		once := func(dir, args string) result {
			line := strings.Fields(v.path + " " + words.Replace(args))
			if flagNamed(command, "dir") != nil && v.path != "serve" {
				line = append(line, "--dir", dir)
			}
			return here("", line...)
		}
		run := func(dir, args string) result {
			r := once(dir, args)
			for deadline := time.Now().Add(20 * time.Second); v.tried && dir == first.dir && r.code == 1 && time.Now().Before(deadline); {
				r = once(dir, args)
			}
			return r
		}
		if v.do != "-" {
			r := run(first.dir, v.do)
			if r.code != 0 || r.stderr != "" {
				t.Fatalf("ashlar %s %s: status %d, %s%s", v.path, v.do, r.code, r.stdout, r.stderr)
			}
			hasAll(t, v.path+" "+v.do, r.stdout, v.says, words)
			again := v.again
			if again == "" {
				again = v.do
			}
			r = run(first.dir, again+" -o json")
			if r.code != 0 || r.stderr != "" || !json.Valid([]byte(r.stdout)) {
				t.Fatalf("ashlar %s %s -o json: status %d, %s%s", v.path, again, r.code, r.stdout, r.stderr)
			}
			hasAll(t, v.path+" "+again+" -o json", r.stdout, v.keys, words)
			if !v.down {
				isRefused(t, v.path+", no node", run("/nowhere", v.do), strings.Split(noNode, "|")...)
			}
			if !v.down && !v.alone {
				isRefused(t, v.path+", no cluster", run(stranger.dir, v.do), strings.Split(lonely, "|")...)
			}
		}
		for _, w := range v.wrong {
			order := v.path + " " + words.Replace(w.args)
			isRefused(t, order, run(first.dir, w.args), strings.Split(words.Replace(w.words), "|")...)
		}
		if v.do == "-" && len(v.wrong) == 0 || v.do != "-" && (len(v.says) == 0 || len(v.keys) == 0) {
			t.Errorf("the row of ashlar %s tests nothing", v.path)
		}
	}
}

// hasAll says whether a text has all of the words, in order.
func hasAll(t *testing.T, order, text string, all []string, words *strings.Replacer) {
	t.Helper()
	rest := text
	for _, w := range all {
		_, after, found := strings.Cut(rest, words.Replace(w))
		if !found {
			t.Errorf("ashlar %s: no %q, or not in that place, in:\n%s", order, words.Replace(w), text)
			return
		}
		rest = after
	}
}
