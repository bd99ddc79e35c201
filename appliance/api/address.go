package api

import (
	"context"
	"net/http"
	"net/netip"
	"net/url"

	"ashlar/node"
	"ashlar/node/cluster"

	"github.com/danielgtaylor/huma/v2"
)

// Address is a portal address that moves between nodes.
type Address struct {
	Address string `json:"address" doc:"IP, without the subnet's length"`
	Fabric  string `json:"fabric" doc:"Subnet: only nodes that are on it can hold the address"`
	Port    uint16 `json:"port"`
	NVMe    uint16 `json:"nvme_port" doc:"Of NVMe/TCP, 0: none"`
	Finds   uint16 `json:"nvme_discovery_port,omitempty" doc:"Where NVMe/TCP hosts are told of all portals, none: nowhere at this address"`
	Group   uint16 `json:"group" doc:"Target portal group tag and target port group, for good"`
	Home    string `json:"home" doc:"Node where it belongs, empty: nowhere in particular"`
	Holder  string `json:"holder" doc:"Node that serves it, empty while none does"`
	State   string `json:"state" enum:"held,moving,waiting" doc:"moving: its holder is giving it up; waiting: no node that is up can hold it"`
}

// NewAddress is a portal address to be.
type NewAddress struct {
	Address string `json:"address" doc:"IP with the length of its subnet, like 10.1.0.101/24" maxLength:"64"`
	Home    string `json:"home,omitempty" doc:"Node where it belongs" maxLength:"64"`
}

func (s server) addresses(a huma.API) {
	get(a, "/addresses", "list-addresses", "Portal addresses that move between nodes", func(_ context.Context, _ *nothing) ([]Address, error) {
		return view(s.node, addressViews)
	})
	register(a, http.MethodPost, "/addresses", "add-address", "Serve a portal address at one node or another", orderTimeout,
		func(ctx context.Context, in *input[NewAddress]) (Address, error) {
			if err := s.node.AddAddress(ctx, in.Body.Address, in.Body.Home); err != nil {
				return Address{}, err
			}
			ip := netip.MustParsePrefix(in.Body.Address).Addr().String()
			return find(s.node, addressViews, "address", ip, func(a Address) string { return a.Address })
		})
	order(a, http.MethodDelete, "/addresses/{address}", "delete-address", "Take a portal address out of use", orderTimeout,
		func(ctx context.Context, in *struct {
			Address string `path:"address" maxLength:"64"`
		}) error {
			return s.node.RemoveAddress(ctx, in.Address)
		})
}

func addressViews(_ *node.Node, s *cluster.State) []Address {
	out := []Address{}
	nodes := s.AddressNodes()
	for _, a := range s.Addresses {
		v := Address{Address: a.Address.Address.String(), Fabric: a.Fabric.String(), Port: a.Port, NVMe: a.NVMe, Finds: a.Discovery, Group: a.Group, Home: nodeName(s, a.Home), State: "waiting"}
		switch {
		case a.Over(nodes):
		case a.Leaving:
			v.State, v.Holder = "moving", nodeName(s, a.Holder)
		default:
			v.State, v.Holder = "held", nodeName(s, a.Holder)
		}
		out = append(out, v)
	}
	return out
}

// Addresses are the portal addresses that move.
func (c *Client) Addresses(ctx context.Context) ([]Address, error) {
	return ask[[]Address](ctx, c, "GET", "/addresses", nil)
}

// AddAddress has the cluster serve one more.
func (c *Client) AddAddress(ctx context.Context, in NewAddress) (Address, error) {
	return ask[Address](ctx, c, "POST", "/addresses", in)
}

// DeleteAddress takes one out of use.
func (c *Client) DeleteAddress(ctx context.Context, ip string) error {
	return c.do(ctx, "DELETE", "/addresses/"+url.PathEscape(ip), nil, nil)
}
