"""The native call over gRPC: answers.proto, what protoc makes of it, and the service behind it."""
