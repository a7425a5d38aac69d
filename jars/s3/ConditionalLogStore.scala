package sessions_assets

import java.io.ByteArrayOutputStream
import java.lang.{Boolean => JavaBoolean}
import java.nio.charset.StandardCharsets.UTF_8
import java.nio.file.FileAlreadyExistsException
import java.util.{Iterator => JavaIterator}

import io.delta.storage.S3SingleDriverLogStore
import org.apache.hadoop.conf.Configuration
import org.apache.hadoop.fs.{FileAlreadyExistsException => HadoopFileAlreadyExists, Path}
import org.apache.hadoop.fs.s3a.RemoteFileChangedException

/** Delta's log on S3: each entry is one PUT that the store refuses if the entry is there already.
  *
  * Delta's own store for S3 looks whether an entry is there and then writes it, so that of two drivers which do so at
  * once the second overwrites the entry of the first, and a commit is lost. S3A can ask the store for more, but only
  * through the builder used here: no setting of S3A makes its plain `create` do so.
  */
class ConditionalLogStore(configuration: Configuration) extends S3SingleDriverLogStore(configuration) {

  override def write(
      path: Path, actions: JavaIterator[String], overwrite: JavaBoolean, configuration: Configuration): Unit =
    if (overwrite) super.write(path, actions, overwrite, configuration)
    else {
      // All of it before the entry is opened: what fails here must not leave half an entry behind.
      val content = new ByteArrayOutputStream
      actions.forEachRemaining(action => content.write((action + "\n").getBytes(UTF_8)))
      try {
        val entry = path.getFileSystem(configuration).createFile(path).create().overwrite(false)
          .must("fs.option.create.conditional.overwrite", true).build()
        try content.writeTo(entry) finally entry.close()
      } catch {
        case _: HadoopFileAlreadyExists | _: RemoteFileChangedException =>
          throw new FileAlreadyExistsException(path.toString)
      }
    }
}
