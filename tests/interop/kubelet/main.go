// A kubelet's side of the device plugin interface in Go, with the kubelet's own messages and gRPC's own limits.
//
// usage: kubelet DIRECTORY RESOURCE
//
// Listens at DIRECTORY/kubelet.sock, waits for RESOURCE to be registered, dials it back within Register as the kubelet
// does (authority localhost, no limits of its own), asks for its options, takes its first list, asks for its first
// healthy device, and prints what it saw as one JSON object.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

const dialBack = 10 * time.Second

type seen struct {
	Endpoint   string           `json:"endpoint"`
	Version    string           `json:"version"`
	Devices    int              `json:"devices"`
	Healthy    int              `json:"healthy"`
	FirstID    string           `json:"first_id"`
	Topology   bool             `json:"topology"`
	Code       string           `json:"code"`
	Message    string           `json:"message"`
	Containers []map[string]any `json:"containers"`
}

type kubelet struct {
	api.UnimplementedRegistrationServer
	directory, resource string
	found               chan seen
}

func (k *kubelet) Register(_ context.Context, request *api.RegisterRequest) (*api.Empty, error) {
	if request.ResourceName != k.resource {
		return &api.Empty{}, nil
	}
	if request.Version != api.Version {
		return nil, fmt.Errorf("unsupported version %s", request.Version)
	}
	ctx, cancel := context.WithTimeout(context.Background(), dialBack)
	defer cancel()
	//nolint:staticcheck // deprecated, and still what the kubelet calls: it blocks until the plugin serves
	connection, err := grpc.DialContext(ctx, filepath.Join(k.directory, request.Endpoint),
		grpc.WithAuthority("localhost"),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithBlock(),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", address)
		}),
	)
	if err != nil {
		return nil, err
	}
	client := api.NewDevicePluginClient(connection)
	if _, err = client.GetDevicePluginOptions(ctx, &api.Empty{}); err != nil {
		return nil, err
	}
	go k.watch(client, seen{Endpoint: request.Endpoint, Version: request.Version})
	return &api.Empty{}, nil
}

func (k *kubelet) watch(client api.DevicePluginClient, found seen) {
	stream, err := client.ListAndWatch(context.Background(), &api.Empty{})
	if err == nil {
		var list *api.ListAndWatchResponse
		if list, err = stream.Recv(); err == nil {
			err = take(client, list, &found)
		}
	}
	found.Code, found.Message = status.Code(err).String(), status.Convert(err).Message()
	k.found <- found
}

func take(client api.DevicePluginClient, list *api.ListAndWatchResponse, found *seen) error {
	found.Devices = len(list.Devices)
	for _, device := range list.Devices {
		found.Topology = found.Topology || device.Topology != nil
		if device.Health != api.Healthy {
			continue
		}
		if found.Healthy == 0 {
			found.FirstID = device.ID
		}
		found.Healthy++
	}
	if found.Healthy == 0 {
		return nil
	}
	answer, err := client.Allocate(context.Background(), &api.AllocateRequest{
		ContainerRequests: []*api.ContainerAllocateRequest{{DevicesIds: []string{found.FirstID}}},
	})
	if err != nil {
		return err
	}
	for _, container := range answer.ContainerResponses {
		paths := []string{}
		for _, device := range container.Devices {
			paths = append(paths, device.HostPath+":"+device.ContainerPath+":"+device.Permissions)
		}
		names := []string{}
		for _, device := range container.CdiDevices {
			names = append(names, device.Name)
		}
		found.Containers = append(found.Containers, map[string]any{
			"devices": paths, "cdi": names, "environment": container.Envs,
		})
	}
	return nil
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: kubelet DIRECTORY RESOURCE")
		os.Exit(2)
	}
	listener, err := net.Listen("unix", filepath.Join(os.Args[1], "kubelet.sock"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	k := &kubelet{directory: os.Args[1], resource: os.Args[2], found: make(chan seen, 1)}
	server := grpc.NewServer()
	api.RegisterRegistrationServer(server, k)
	go func() { _ = server.Serve(listener) }()
	if err := json.NewEncoder(os.Stdout).Encode(<-k.found); err != nil {
		os.Exit(1)
	}
}
