// Package member says who seems to be there: a serf agent, its members and its
// events. Gossip is late, and now and then wrong (it took 21 s to miss a dead
// node once), so nothing is decided by it: it is for people, for hints and for alarms.
package member

import (
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/serf/serf"

	"ashlar/node/logging"
	"ashlar/replication/wire"
)

// Config of an agent.
type Config struct {
	Node    wire.NodeID
	Name    string
	Cluster string            // its identity: agents of another cluster are not let in
	Listen  string            // host:port, UDP and TCP; port 0: any free one
	Key     []byte            // cluster.State.GossipKey, 32 bytes: encrypts and authenticates (AES-GCM)
	Tags    map[string]string // more about the node; short
	Log     *slog.Logger
}

// Kind is what seems to have happened to a member.
type Kind uint8

const (
	Joined  Kind = iota
	Left         // said goodbye
	Failed       // answers nobody
	Changed      // other tags
)

func (k Kind) String() string { return [...]string{"joined", "left", "failed", "changed"}[k] }

// Member is a node as gossip has it.
type Member struct {
	Node    wire.NodeID
	Name    string
	Address string // host:port of its agent
	Tags    map[string]string
	Alive   bool
}

// Event is news of a member, of this node too.
type Event struct {
	Kind   Kind
	Member Member
}

const (
	nodeTag    = "node"
	nameTag    = "name"
	clusterTag = "cluster"

	eventsMax = 1024
)

// Agent is this node's part in the gossip.
type Agent struct {
	serf    *serf.Serf
	config  Config
	events  chan Event
	address string
	stop    sync.Once
	done    chan struct{}
	err     error // of Shutdown
}

// Start listens. The agent knows nobody before Join, or before somebody joins it.
func Start(config Config) (*Agent, error) {
	if len(config.Key) != 32 {
		return nil, fmt.Errorf("member: the gossip key has %d bytes, not 32", len(config.Key))
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	host, portText, err := net.SplitHostPort(config.Listen)
	if err != nil {
		return nil, fmt.Errorf("member: %w", err)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("member: port %q: %w", portText, err)
	}
	a := &Agent{config: config, events: make(chan Event, eventsMax), done: make(chan struct{})}
	raw := make(chan serf.Event, 64)
	c := serf.DefaultConfig()
	c.Init()
	c.NodeName = strconv.Itoa(int(config.Node)) // unique and permanent, as names are not
	c.Tags = a.tags(config.Tags)
	c.EventCh = raw
	c.Merge = a
	c.EnableNameConflictResolution = false // would stop the agent of a node whose number somebody else claims
	c.LeavePropagateDelay = 200 * time.Millisecond
	c.ReconnectInterval = 5 * time.Second
	c.Logger = logging.Standard(config.Log)
	m := c.MemberlistConfig
	m.BindAddr, m.BindPort, m.AdvertisePort = host, int(port), int(port)
	m.SecretKey = config.Key
	m.Logger = c.Logger
	if a.serf, err = serf.Create(c); err != nil {
		return nil, fmt.Errorf("member: %w", err)
	}
	self := a.serf.LocalMember()
	a.address = net.JoinHostPort(self.Addr.String(), strconv.Itoa(int(self.Port)))
	go a.pass(raw)
	return a, nil
}

func (a *Agent) tags(more map[string]string) map[string]string {
	tags := maps.Clone(more)
	if tags == nil {
		tags = map[string]string{}
	}
	tags[nodeTag], tags[nameTag], tags[clusterTag] = strconv.Itoa(int(a.config.Node)), a.config.Name, a.config.Cluster
	return tags
}

// NotifyMerge refuses members of another cluster: keys may be copied with a folder.
func (a *Agent) NotifyMerge(members []*serf.Member) error {
	for _, m := range members {
		if m.Tags[clusterTag] != a.config.Cluster {
			return fmt.Errorf("member: %s is of cluster %q", m.Name, m.Tags[clusterTag])
		}
	}
	return nil
}

// Address is where the agent listens, host:port.
func (a *Agent) Address() string { return a.address }

// Join makes contact through any of those agents (host:port). One is enough.
func (a *Agent) Join(addresses []string) error {
	if reached, err := a.serf.Join(addresses, true); reached == 0 {
		return fmt.Errorf("member: joining through %v: %w", addresses, err)
	}
	return nil
}

// SetTags replaces what Config.Tags said.
func (a *Agent) SetTags(tags map[string]string) error { return a.serf.SetTags(a.tags(tags)) }

// Members are all that are known, by number. Those that failed or left stay for a day.
func (a *Agent) Members() []Member {
	var members []Member
	for _, m := range a.serf.Members() {
		members = append(members, member(m))
	}
	slices.SortFunc(members, func(a, b Member) int { return int(a.Node) - int(b.Node) })
	return members
}

func member(m serf.Member) Member {
	id, _ := strconv.ParseUint(m.Tags[nodeTag], 10, 16)
	tags := maps.Clone(m.Tags)
	for _, ours := range []string{nodeTag, nameTag, clusterTag} {
		delete(tags, ours)
	}
	return Member{Node: wire.NodeID(id), Name: m.Tags[nameTag], Tags: tags, Alive: m.Status == serf.StatusAlive,
		Address: net.JoinHostPort(m.Addr.String(), strconv.Itoa(int(m.Port)))}
}

// Events ends with Shutdown. Who does not read loses the oldest news, never the latest.
func (a *Agent) Events() <-chan Event { return a.events }

// pass translates events until the agent is shut down.
func (a *Agent) pass(raw <-chan serf.Event) {
	defer close(a.done)
	defer close(a.events)
	kinds := map[serf.EventType]Kind{serf.EventMemberJoin: Joined, serf.EventMemberLeave: Left,
		serf.EventMemberFailed: Failed, serf.EventMemberUpdate: Changed}
	for {
		select {
		case e := <-raw:
			kind, ok := kinds[e.EventType()]
			if !ok {
				continue
			}
			for _, m := range e.(serf.MemberEvent).Members {
				a.tell(Event{kind, member(m)})
			}
		case <-a.serf.ShutdownCh():
			return
		}
	}
}

func (a *Agent) tell(e Event) {
	for {
		select {
		case a.events <- e:
			return
		default:
		}
		select {
		case <-a.events:
		default:
		}
	}
}

// Leave says goodbye, so that nobody takes the silence for a failure. Shutdown
// follows, and may come in the midst of it: memberlist panics then.
func (a *Agent) Leave() (err error) {
	defer func() {
		switch r := recover(); r {
		case nil:
		case "leave after shutdown":
			err = fmt.Errorf("membership: %v", r)
		default:
			panic(r)
		}
	}()
	return a.serf.Leave()
}

// Shutdown falls silent at once.
func (a *Agent) Shutdown() error {
	a.stop.Do(func() { a.err = a.serf.Shutdown() })
	<-a.done
	return a.err
}

var _ serf.MergeDelegate = (*Agent)(nil)
