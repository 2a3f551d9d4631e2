"""What tests of several folders use: servers, certificates, processes, and what a machine must have."""
