"""Where assets are kept: a folder, or a bucket of an S3 service. Implements `application.assets.objects`."""
