package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"ashlar/appliance/api"
	"ashlar/appliance/metrics"
	"ashlar/node"

	"github.com/urfave/cli/v2"
)

func serveCommand(version string) *cli.Command {
	return &cli.Command{
		Name: "serve", Usage: "run a node until it is told to stop (the daemon)",
		Description: "Before the node belongs to a cluster it waits for orders: `ashlar cluster create` or `ashlar cluster join`.\n\n" +
			"Example:\n   ashlar serve --dir /var/lib/ashlar --address 10.1.0.1 --address 10.2.0.1",
		Flags: []cli.Flag{
			dirFlag(),
			&cli.StringSliceFlag{Name: "address", EnvVars: []string{"ASHLAR_ADDRESS"}, Usage: "IP of this node, once per fabric; the first also serves the other nodes; needed"},
			&cli.StringFlag{Name: "name", EnvVars: []string{"ASHLAR_NAME"}, Usage: "name of the node in its cluster (default: the machine's)"},
			&cli.UintFlag{Name: "peer-port", Value: node.DefaultPeerPort, Usage: "TCP port for the other nodes"},
			&cli.UintFlag{Name: "gossip-port", Value: node.DefaultGossipPort, Usage: "TCP and UDP port for membership"},
			&cli.UintFlag{Name: "iscsi-port", Value: node.DefaultISCSIPort, Usage: "TCP port for hosts, on every address"},
			&cli.UintFlag{Name: "nvme-port", Value: node.DefaultNVMePort, Usage: "TCP port for NVMe/TCP hosts, on the address of every portal; 0: none"},
			&cli.UintFlag{Name: "nvme-discovery-port", Value: node.DefaultDiscoveryPort, Usage: "TCP port where NVMe/TCP hosts learn of all portals; 0: none"},
			&cli.UintFlag{Name: "api-port", Value: defaultAPIPort, EnvVars: []string{"ASHLAR_API_PORT"}, Usage: "TCP port of the API over TLS, on every address, for who has a token; 0: only the socket in the folder"},
			&cli.StringSliceFlag{Name: "portal", Usage: "IP:PORT for hosts, instead of every address at the iSCSI port"},
			&cli.StringFlag{Name: "metrics", EnvVars: []string{"ASHLAR_METRICS"}, Usage: "IP:PORT where everybody may read /metrics (Prometheus); without it only the API's socket has them"},
			&cli.BoolFlag{Name: "witness", Usage: "vote in the cluster that it joins, and hold no data and serve no hosts"},
			&cli.BoolFlag{Name: "lock-memory", EnvVars: []string{"ASHLAR_LOCK_MEMORY"}, Usage: "keep the process in memory, for a machine that uses volumes which it serves itself; needs CAP_SYS_RESOURCE"},
			&cli.BoolFlag{Name: "debug", Usage: "log more"},
		},
		Action: func(c *cli.Context) error {
			if err := checkArguments(c, ""); err != nil {
				return err
			}
			config, err := nodeConfig(c)
			if err != nil {
				return err
			}
			if c.Bool("lock-memory") {
				if err := lockMemory(); err != nil {
					return err
				}
			}
			tell, err := metricsListener(c.String("metrics"))
			if err != nil {
				return err
			}
			return serve(c.Context, config, version, tell, func() ([]net.Listener, error) {
				doors, err := apiListeners(config.Addresses, c.Uint("api-port"))
				if err != nil && !c.IsSet("api-port") {
					// Hosts' data does not wait for a port that nobody asked for.
					config.Log.Warn("the API is at the socket in the folder alone", "error", err)
					return nil, nil
				}
				return doors, err
			})
		},
	}
}

func nodeConfig(c *cli.Context) (node.Config, error) {
	level := slog.LevelInfo
	if c.Bool("debug") {
		level = slog.LevelDebug
	}
	config := node.Config{Dir: c.String("dir"), Name: c.String("name"), Witness: c.Bool("witness"),
		Log: slog.New(slog.NewTextHandler(c.App.ErrWriter, &slog.HandlerOptions{Level: level}))}
	if len(c.StringSlice("address")) == 0 {
		return config, misuse("a node needs the address at which the others reach it: --address IP")
	}
	for _, text := range c.StringSlice("address") {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return config, misuse("--address: %q is no IP address", text)
		}
		config.Addresses = append(config.Addresses, a)
	}
	for _, text := range c.StringSlice("portal") {
		p, err := netip.ParseAddrPort(text)
		if err != nil {
			return config, misuse("--portal: %q is not IP:PORT", text)
		}
		config.Portals = append(config.Portals, p)
	}
	for flag, port := range map[string]*uint16{"peer-port": &config.PeerPort, "gossip-port": &config.GossipPort, "iscsi-port": &config.ISCSIPort,
		"nvme-port": &config.NVMePort, "nvme-discovery-port": &config.DiscoveryPort} {
		n := c.Uint(flag)
		if n == 0 && !strings.HasPrefix(flag, "nvme") || n > 65535 {
			return config, misuse("--%s: %d is no port", flag, n)
		}
		*port = uint16(n)
	}
	return config, nil
}

// serve runs a node until a signal, or until it is over: an incarnation that
// the cluster took for dead is replaced by a new one, in the same process. doors are
// opened once the folder is this process's.
func serve(ctx context.Context, config node.Config, version string, tell net.Listener, doors func() ([]net.Listener, error)) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	n, err := node.Open(config)
	if err != nil {
		return err
	}
	open, err := doors()
	if err != nil {
		return errors.Join(err, n.Close())
	}
	servers, err := takeOrders(n, version, open)
	if err != nil {
		return errors.Join(err, n.Close())
	}
	if tell != nil {
		go http.Serve(tell, onlyMetrics(n, version))
	}
	go giveMemoryBack(ctx)
	config.Log.Info("serving", "folder", config.Dir, "addresses", config.Addresses, "version", version)
	select {
	case <-ctx.Done():
		config.Log.Info("stopping")
		leave(n)
	case err = <-n.Over():
		config.Log.Error("this incarnation is over", "error", err)
	}
	for _, s := range servers {
		s.Close()
	}
	closed := closeInTime(n)
	if errors.Is(err, node.ErrFenced) {
		return startOver(closed)
	}
	return errors.Join(err, closed)
}

// leaveMax bounds how long hosts and heads have to go to other nodes.
const leaveMax = 10 * time.Second

// leave prepares an orderly end; a second signal does not wait for it.
func leave(n *node.Node) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, leaveMax)
	defer cancel()
	left := make(chan struct{})
	go func() {
		defer close(left)
		n.Leave(ctx)
	}()
	select {
	case <-left:
	case <-ctx.Done():
	}
}

// closeMax bounds an orderly end: a disk that hangs must not keep the process
// from ending, or from starting over.
const closeMax = 10 * time.Second

func closeInTime(n *node.Node) error {
	closed := make(chan error, 1)
	go func() { closed <- n.Close() }()
	select {
	case err := <-closed:
		return err
	case <-time.After(closeMax):
		return fmt.Errorf("the node did not close within %v", closeMax)
	}
}

// startOver replaces the process by a new one of the same program and
// arguments: nothing of the old incarnation's memory must live on.
func startOver(closed error) error {
	if closed != nil {
		slog.Warn("closing", "error", closed)
	}
	self, err := os.Executable()
	if err == nil {
		err = syscall.Exec(self, os.Args, os.Environ())
	}
	return fmt.Errorf("starting over: %w", err)
}

// metricsListener is nil where nobody asked for metrics.
func metricsListener(at string) (net.Listener, error) {
	if at == "" {
		return nil, nil
	}
	if _, err := netip.ParseAddrPort(at); err != nil {
		return nil, misuse("--metrics: %q is not IP:PORT", at)
	}
	return net.Listen("tcp", at)
}

// onlyMetrics answers nothing else: who asks has proven nothing.
func onlyMetrics(n *node.Node, version string) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics.Handler(n, version))
	return http.TimeoutHandler(mux, 10*time.Second, "")
}

const defaultAPIPort = 7443

// apiListeners takes the API's port on each address; none for port 0.
func apiListeners(addresses []netip.Addr, port uint) (all []net.Listener, err error) {
	if port > 65535 {
		return nil, misuse("--api-port: %d is no port", port)
	}
	if port == 0 {
		return nil, nil
	}
	for _, a := range addresses {
		at := netip.AddrPortFrom(a, uint16(port)).String()
		l, err := api.Listen(at)
		if err != nil {
			return nil, fmt.Errorf("the API cannot be served at %s: %w (give another --api-port, or 0)", at, err)
		}
		all = append(all, l)
	}
	return all, nil
}

// takeOrders serves the API to whom Access lets through: on the socket in the node's folder, whose lock the
// node holds, so a socket that is there is nobody's; and over the network.
func takeOrders(n *node.Node, version string, doors []net.Listener) ([]*http.Server, error) {
	path, err := node.SocketPath(n.Config().Dir)
	if err != nil {
		return nil, err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	old := syscall.Umask(0o177) // 0600 from the first moment
	l, err := net.Listen("unix", path)
	syscall.Umask(old)
	if err != nil {
		return nil, err
	}
	access, err := api.NewAccess(n)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	mux := http.NewServeMux()
	mux.Handle("/", api.Handler(n, version))
	mux.Handle("GET /metrics", metrics.Handler(n, version))
	server := &http.Server{Handler: access.Local(mux), ConnContext: api.User, ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 16 << 10}
	go server.Serve(l)
	servers := []*http.Server{server}
	for _, door := range doors {
		servers = append(servers, api.ServeNetwork(door, n.ServerTLS(), access.Network(mux)))
	}
	return servers, nil
}
