package api

import (
	"cmp"
	"context"
	"net/http"
	"time"

	"ashlar/node"
	"ashlar/node/cluster"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// orderTimeout bounds an order that needs the cluster's agreement; joining
// and verifying take their time.
const orderTimeout = 15 * time.Second

// Handler serves the API of a node to whom Access let through: without it everybody is refused.
func Handler(n *node.Node, version string) http.Handler {
	mux := http.NewServeMux()
	config := huma.DefaultConfig("Ashlar", "1")
	config.Info.Description = "Orders for one node and its cluster."
	config.DocsPath = ""
	config.SchemasPath = ""
	config.CreateHooks = nil
	s := server{n, version}
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{"token": {Type: "http", Scheme: "bearer", Description: "Over the network; ashlar token create makes one"}}
	config.Security = []map[string][]string{{"token": {}}}
	config.Transformers = append(config.Transformers, s.finish)
	a := humago.New(mux, config)
	a.UseMiddleware(s.authorize, (&replies{node: n}).find, planning)
	s.cluster(a)
	s.adopt(a)
	s.pool(a)
	s.moves(a)
	s.volumes(a)
	s.jobs(a)
	s.hosts(a)
	s.addresses(a)
	s.why(a)
	s.network(a)
	s.upgrade(a)
	s.sessions(a)
	s.access(a)
	s.health(a)
	s.events(a)
	mux.HandleFunc("/", nowhere)
	describePlans(a)
	return mux
}

type server struct {
	node    *node.Node
	version string
}

// noDeadline is of reading an order's body: huma leaves a deadline on the connection, which would end the order with it. Bodies are short,
// and are read only of who may give the order.
const noDeadline = -1

type nothing struct{}

// body is an answer.
type body[T any] struct{ Body T }

// input is an order without parameters but its body.
type input[T any] struct{ Body T }

type named struct {
	Name string `path:"name" maxLength:"64"`
}

// get registers a question.
func get[I, O any](a huma.API, path, id, summary string, f func(context.Context, *I) (O, error)) {
	register(a, http.MethodGet, path, id, summary, orderTimeout, f)
}

// register adds one operation, whose handler gets a context with a deadline.
func register[I, O any](a huma.API, method, path, id, summary string, timeout time.Duration, f func(context.Context, *I) (O, error)) {
	huma.Register(a, huma.Operation{
		OperationID: id, Method: method, Path: "/v1" + path, Summary: summary, MaxBodyBytes: 64 << 10, BodyReadTimeout: noDeadline, Parameters: parameters(method),
	}, func(ctx context.Context, in *I) (*body[O], error) {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		f := func(ctx context.Context) (O, error) { return f(ctx, in) }
		if plan, err := planned(ctx, id, f); err != nil || plan != nil {
			return nil, cmp.Or[error](answer(err), plan)
		}
		out, err := once(ctx, id, in, true, f)
		if err != nil {
			return nil, answer(err)
		}
		return &body[O]{out}, nil
	})
}

// order registers an order that answers nothing but that it was carried out.
func order[I any](a huma.API, method, path, id, summary string, timeout time.Duration, f func(context.Context, *I) error) {
	huma.Register(a, huma.Operation{
		OperationID: id, Method: method, Path: "/v1" + path, Summary: summary, MaxBodyBytes: 64 << 10, BodyReadTimeout: noDeadline,
		DefaultStatus: http.StatusNoContent, Parameters: parameters(method),
	}, func(ctx context.Context, in *I) (*struct{}, error) {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		f := func(ctx context.Context) (nothing, error) { return nothing{}, f(ctx, in) }
		if plan, err := planned(ctx, id, f); err != nil || plan != nil {
			return nil, cmp.Or[error](answer(err), plan)
		}
		_, err := once(ctx, id, in, false, f)
		return nil, answer(err)
	})
}

func (s server) cluster(a huma.API) {
	get(a, "/status", "get-status", "What this node says of itself", func(_ context.Context, _ *nothing) (Status, error) {
		return s.status(), nil
	})
	get(a, "/cluster", "get-cluster", "The cluster at a glance", func(_ context.Context, _ *nothing) (Cluster, error) {
		return view(s.node, clusterView)
	})
	order(a, http.MethodPost, "/cluster", "create-cluster", "Make a cluster of this node", orderTimeout,
		func(ctx context.Context, in *input[NewCluster]) error {
			return s.node.CreateCluster(ctx, in.Body.Name, in.Body.SegmentSize)
		})
	order(a, http.MethodPost, "/cluster/join", "join-cluster", "Make this node a member of a cluster", time.Minute,
		func(ctx context.Context, in *input[Join]) error {
			return s.node.JoinCluster(ctx, in.Body.Address, in.Body.Secret, in.Body.Witness)
		})
	get(a, "/cluster/release", "plan-release", "What a release of this node would mean", func(_ context.Context, _ *nothing) (Release, error) {
		return releaseView(s.node.PlanRelease())
	})
	register(a, http.MethodPost, "/cluster/release", "release", "Form the cluster anew of this node, without the others", orderTimeout,
		func(ctx context.Context, in *input[ConfirmRelease]) (Release, error) {
			return releaseView(s.node.Release(ctx, in.Body.Confirm, in.Body.AcceptOlder))
		})
	order(a, http.MethodPost, "/cluster/reset", "reset", "Forget a cluster that was formed anew without this node", time.Minute,
		func(ctx context.Context, in *input[Confirm]) error { return s.node.Reset(ctx, in.Body.Confirm) })
	order(a, http.MethodPatch, "/cluster/settings", "set-cluster", "Change settings of the cluster", orderTimeout,
		func(ctx context.Context, in *input[Settings]) error {
			return s.node.Set(ctx, cluster.Settings(in.Body))
		})
	get(a, "/cluster/secret", "get-secret", "The secret with which nodes join", func(_ context.Context, _ *nothing) (Secret, error) {
		secret, err := s.node.Secret()
		return Secret{secret}, err
	})
}

func (s server) pool(a huma.API) {
	get(a, "/nodes", "list-nodes", "All nodes", func(_ context.Context, _ *nothing) ([]Node, error) {
		return view(s.node, nodeViews)
	})
	get(a, "/nodes/{name}", "get-node", "One node", func(_ context.Context, in *named) (Node, error) {
		return find(s.node, nodeViews, "node", in.Name, func(n Node) string { return n.Name })
	})
	register(a, http.MethodPost, "/nodes/{name}/drain", "drain-node", "Have hosts and heads go to other nodes", orderTimeout,
		func(ctx context.Context, in *struct {
			Name string    `path:"name" maxLength:"64"`
			Body DrainNode `required:"false"`
		}) (Drained, error) {
			left, err := s.node.Drain(ctx, in.Name, in.Body.Data)
			return Drained{left}, err
		})
	order(a, http.MethodPost, "/nodes/{name}/undrain", "undrain-node", "Serve hosts again", orderTimeout,
		func(ctx context.Context, in *named) error { return s.node.Undrain(ctx, in.Name) })
	get(a, "/pool", "get-pool", "How much room there is", func(ctx context.Context, _ *nothing) (Pool, error) {
		return s.poolSpace(ctx)
	})
	get(a, "/disks", "list-disks", "All disks", func(_ context.Context, _ *nothing) ([]Disk, error) {
		return view(s.node, diskViews)
	})
	get(a, "/disks/{id}", "get-disk", "One disk, by its identity or, if that is one disk's alone, its path", func(_ context.Context, in *struct {
		ID string `path:"id" maxLength:"4096"`
	}) (DiskDetail, error) {
		return s.diskDetail(in.ID)
	})
	register(a, http.MethodPost, "/disks", "add-disk", "Give a device or file of this node to the pool", time.Minute,
		func(ctx context.Context, in *input[NewDisk]) (Disk, error) {
			id, err := s.node.AddDisk(ctx, in.Body.Path, in.Body.Size, in.Body.Force)
			if err != nil {
				return Disk{}, err
			}
			return find(s.node, diskViews, "disk", string(id), func(d Disk) string { return d.ID })
		})
}

func (s server) volumes(a huma.API) {
	get(a, "/volumes", "list-volumes", "All volumes", func(_ context.Context, _ *nothing) ([]Volume, error) {
		return view(s.node, volumeViews)
	})
	get(a, "/volumes/{name}", "get-volume", "One volume and where its copies are", func(_ context.Context, in *named) (VolumeDetail, error) {
		return find(s.node, volumeDetails, "volume", in.Name, func(v VolumeDetail) string { return v.Name })
	})
	register(a, http.MethodPost, "/volumes", "create-volume", "Make a volume", orderTimeout,
		func(ctx context.Context, in *input[NewVolume]) (Volume, error) {
			owner, err := ownerFor(ctx, in.Body.Tenant)
			if err != nil {
				return Volume{}, err
			}
			v := cluster.CreateVolume{Name: in.Body.Name, Bytes: in.Body.Size, Copies: in.Body.Copies, Tenant: owner, WriteCache: in.Body.WriteCache}
			if err := s.node.CreateVolume(ctx, v); err != nil {
				return Volume{}, err
			}
			return find(s.node, volumeViews, "volume", in.Body.Name, func(v Volume) string { return v.Name })
		})
	register(a, http.MethodPut, "/volumes/{name}/size", "resize-volume", "Make a volume larger, while hosts use it", orderTimeout,
		func(ctx context.Context, in *struct {
			Name string `path:"name" maxLength:"64"`
			Body Size
		}) (Volume, error) {
			if err := s.node.ResizeVolume(ctx, in.Name, in.Body.Size); err != nil {
				return Volume{}, err
			}
			return find(s.node, volumeViews, "volume", in.Name, func(v Volume) string { return v.Name })
		})
	order(a, http.MethodPut, "/volumes/{name}/head", "move-head", "Have another node order a volume's writes", orderTimeout,
		func(ctx context.Context, in *struct {
			Name string `path:"name" maxLength:"64"`
			Body Head
		}) error {
			return s.node.MoveHead(ctx, in.Name, in.Body.Node)
		})
	order(a, http.MethodDelete, "/volumes/{name}", "delete-volume", "Remove a volume and all that is on it", orderTimeout,
		func(ctx context.Context, in *named) error { return s.node.DeleteVolume(ctx, in.Name) })
	get(a, "/scrub", "scrub-status", "How far the comparing of all copies is, that goes on by itself", func(_ context.Context, _ *nothing) ([]Scrub, error) {
		return view(s.node, scrubViews)
	})
}

func (s server) hosts(a huma.API) {
	get(a, "/hosts", "list-hosts", "All hosts", func(_ context.Context, _ *nothing) ([]Host, error) {
		return view(s.node, hostViews)
	})
	order(a, http.MethodPost, "/hosts", "add-host", "Name an initiator", orderTimeout,
		func(ctx context.Context, in *input[Host]) error {
			owner, err := ownerFor(ctx, in.Body.Tenant)
			if err != nil {
				return err
			}
			return s.node.AddHostAs(ctx, cluster.AddHost{Name: in.Body.Name, IQN: in.Body.IQN, NQN: in.Body.NQN, Tenant: owner})
		})
	order(a, http.MethodPut, "/hosts/{name}/nqn", "set-nqn", "Give an initiator that is known by its IQN an NQN, too", orderTimeout,
		func(ctx context.Context, in *struct {
			Name string `path:"name" maxLength:"64"`
			Body HostNQN
		}) error {
			return s.node.SetNQN(ctx, in.Name, in.Body.NQN)
		})
	order(a, http.MethodPut, "/hosts/{name}/chap", "set-chap", "Set what an initiator has to prove from its next login on", orderTimeout,
		func(ctx context.Context, in *struct {
			Name string `path:"name" maxLength:"64"`
			Body CHAP
		}) error {
			return s.node.SetCHAP(ctx, in.Name, cluster.CHAP{Secret: []byte(in.Body.Secret), Mutual: []byte(in.Body.MutualSecret)})
		})
	order(a, http.MethodPut, "/hosts/{name}/dhchap", "set-dhchap", "Set what an NVMe host has to prove from its next connection on", orderTimeout,
		func(ctx context.Context, in *struct {
			Name string `path:"name" maxLength:"64"`
			Body DHCHAP
		}) error {
			return s.node.SetDHCHAP(ctx, in.Name, cluster.DHCHAP{Host: []byte(in.Body.Secret), Controller: []byte(in.Body.ControllerSecret)})
		})
	order(a, http.MethodDelete, "/hosts/{name}", "delete-host", "Forget an initiator", orderTimeout,
		func(ctx context.Context, in *named) error { return s.node.DeleteHost(ctx, in.Name) })
	get(a, "/exports", "list-exports", "Which volume is published to which host", func(_ context.Context, _ *nothing) ([]Export, error) {
		return view(s.node, exportViews)
	})
	order(a, http.MethodPost, "/exports", "add-export", "Publish a volume to a host", orderTimeout,
		func(ctx context.Context, in *input[Export]) error {
			if err := s.ownExport(ctx, in.Body); err != nil {
				return err
			}
			if in.Body.LUN != nil {
				return s.node.PublishAs(ctx, in.Body.Volume, in.Body.Host, *in.Body.LUN, in.Body.ReadOnly)
			}
			return s.node.Publish(ctx, in.Body.Volume, in.Body.Host, in.Body.ReadOnly)
		})
	order(a, http.MethodDelete, "/exports/{volume}/{host}", "delete-export", "Take a volume back from a host", orderTimeout,
		func(ctx context.Context, in *struct {
			Volume string `path:"volume" maxLength:"64"`
			Host   string `path:"host" maxLength:"64"`
		}) error {
			return s.node.Withdraw(ctx, in.Volume, in.Host)
		})
}
